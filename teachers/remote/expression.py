"""The language of a request's entries: what stands behind "NAME=", as a function of an observation.

    rgb|rotate180|pad:224                       a camera's frame, turned, then fitted into a square
    proprio|float64                             an entry of the observation, as doubles
    proprio.eef_pos+proprio.gripper_qpos        named parts of one, concatenated
    state[0:3]+(state[3:7]|axis_angle)+1        slices; "|" acts on all that stands left of it, so parentheses
    zeros:8                                     constants: zeros, or numbers one by one

A source is a camera ("rgb" or another that the environment has), "black" (a black frame of the first camera's shape),
an entry of the observation ("proprio"), a named part of one ("proprio.qpos"), either with a slice of its numbers
("proprio[0:3]"), "zeros:COUNT" or a number. Numbers are float32 unless a step says otherwise; `steps.STEPS` are the
steps. "instruction", the task in words, stands alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from rpd_jax.envs.base import EnvSpec
from teachers.remote.steps import sets_size, step

INSTRUCTION, FRAME, BLACK = "instruction", "rgb", "black"
Reader = Callable[[Mapping[str, np.ndarray], int], np.ndarray]
"""(arrays [B, ...] by their names in the observation, row) -> what is sent of that row."""

_TOKEN = re.compile(r"\s*([+|()]|[^+|()\s]+)")
_NAMED = re.compile(r"([^\[\]:]+)(?:\[(\d*):(\d*)\])?")
_ZEROS = re.compile(r"zeros:(\d{1,4})")
_NUMBER = re.compile(r"-?\d+(\.\d*)?")


class Expression:
    """A parsed expression.

    Attributes:
      read: its function.
      keys: of the observation, that it reads.
      sets_size: whether one of its steps sets the size of a frame.
    """

    def __init__(self, text: str, env_spec: EnvSpec) -> None:
        """Parses `text`. Raises ValueError, one line, for a source or a step that is unknown, or another mistake.

        Args:
          text: as the module's docstring shows.
          env_spec: of the environment whose observations are read.
        """
        self.keys: list[str] = []
        self.sets_size = False
        self._env_spec = env_spec
        self._tokens = _TOKEN.findall(text)
        self.read = self._pipe()
        if self._tokens:
            raise ValueError(f"{self._tokens[0]!r} is one too many")

    def _pipe(self) -> Reader:
        """SUM ("|" STEP)*"""
        read = self._sum()
        while self._take("|"):
            name = self._word("a step behind '|'")
            read = _then(read, step(name))
            self.sets_size |= sets_size(name)
        return read

    def _sum(self) -> Reader:
        """TERM ("+" TERM)*"""
        terms = [self._term()]
        while self._take("+"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else _joined(terms)

    def _term(self) -> Reader:
        """SOURCE, or an expression in parentheses."""
        if not self._take("("):
            return self._source(self._word("a source"))
        read = self._pipe()
        if not self._take(")"):
            raise ValueError("')' is missing")
        return read

    def _take(self, token: str) -> bool:
        found = self._tokens[:1] == [token]
        if found:
            del self._tokens[0]
        return found

    def _word(self, what: str) -> str:
        if not self._tokens or self._tokens[0] in "+|()":
            raise ValueError(f"{what} is missing")
        return self._tokens.pop(0)

    def _source(self, text: str) -> Reader:
        if zeros := _ZEROS.fullmatch(text):
            return _constant(np.zeros(int(zeros[1]), np.float32))
        if _NUMBER.fullmatch(text):
            return _constant(np.array([float(text)], np.float32))
        if text == INSTRUCTION:
            raise ValueError(f"{INSTRUCTION!r} stands alone: it can be neither joined nor changed")
        named = _NAMED.fullmatch(text)
        if named is None:
            raise ValueError(f"{text!r} is no source: need a name, a slice of one like state[0:3], or zeros:COUNT")
        name, first, last = named.groups()
        key, begin, end = self._found(name)
        self.keys.append(key)
        if key_shape(self._env_spec, key)[1] == "uint8":
            if first is not None:
                raise ValueError(f"{text!r}: a frame has no slices")
            return (lambda arrays, row: np.zeros_like(arrays[key][row])) if name == BLACK else _entry(key)
        if first is not None:
            size = end - begin
            start, stop = int(first or 0), int(last or size)
            if not start < stop <= size:
                raise ValueError(f"{text!r}: {name} has {size} numbers")
            begin, end = begin + start, begin + stop
        return lambda arrays, row: arrays[key][row][begin:end].astype(np.float32)

    def _found(self, name: str) -> tuple[str, int, int]:
        """The entry of the observation that a name is of, and where it begins and ends there."""
        spec = self._env_spec
        key, _, part = name.partition(".")
        key = FRAME if name == BLACK else key
        layout = spec.layout.get(key, {})
        known = {**spec.cameras, **spec.observation}
        if key not in known or (part and part not in layout) or name.endswith("."):
            names = [each for each in known if each != FRAME]
            parts = [f"{each}.{part}" for each in names for part in spec.layout.get(each, {})]
            choices = [INSTRUCTION, *([FRAME, BLACK] if FRAME in known else []), *names, *parts]
            raise ValueError(f"{spec.name} has no {name!r}: choose from {choices}")
        return (key, *layout[part]) if part else (key, 0, key_shape(spec, key)[0][0])


def key_shape(env_spec: EnvSpec, key: str) -> tuple[tuple[int, ...], str]:
    """The shape and dtype of a row of an entry of the observation."""
    if key in env_spec.cameras:
        return tuple(env_spec.cameras[key]), "uint8"
    return tuple(env_spec.observation[key].shape), env_spec.observation[key].dtype


def _entry(key: str) -> Reader:
    return lambda arrays, row: arrays[key][row]


def _constant(value: np.ndarray) -> Reader:
    return lambda arrays, row: value


def _then(read: Reader, apply: Callable[[np.ndarray], np.ndarray]) -> Reader:
    return lambda arrays, row: apply(read(arrays, row))


def _joined(terms: list[Reader]) -> Reader:
    def read(arrays: Mapping[str, np.ndarray], row: int) -> np.ndarray:
        values = [term(arrays, row) for term in terms]
        if any(value.ndim != 1 for value in values):
            raise ValueError("'+' joins numbers, and one of these is a frame")
        if len({value.dtype for value in values}) > 1:
            raise ValueError("'+' joins numbers of one dtype: put the step float64 behind all of them")
        return np.concatenate(values)

    return read
