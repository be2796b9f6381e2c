"""What a policy server is sent: the environment's observation under the server's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Observation

INSTRUCTION, FRAME, BLACK = "instruction", "rgb", "black"


class Request:
    """Turns observations into the fields of a request.

    Args:
      entries: pairs "server's name=source", e.g. "observation/image=rgb". A source is a camera's frame ("rgb" or
        another that the environment has), "black" (a black one, for a camera that it does not have), "instruction",
        another entry of the observation ("proprio"), or a named part of one ("proprio.qpos").
      env_spec: of the environment.
      frame_size: pixels of the square that frames are fitted into; 0: they are sent as they are.

    Raises:
      ValueError: a pair that is none, a name twice, or a source that the environment does not have.
    """

    def __init__(self, entries: Sequence[str], env_spec: EnvSpec, frame_size: int = 224) -> None:
        self._env_spec, self._size = env_spec, frame_size
        self._sources: dict[str, str] = {}
        for entry in entries:
            name, separator, source = entry.partition("=")
            if not (name and separator and source) or name in self._sources:
                raise ValueError(f"teacher.request: {entry!r} must be NAME=SOURCE, each name once")
            self._sources[name] = source
        self._slices = {source: self._slice(source) for source in self._sources.values() if source != INSTRUCTION}
        self.observation_keys = tuple(dict.fromkeys(key for key, _ in self._slices.values()))
        if not self.observation_keys:
            raise ValueError(f"teacher.request={tuple(entries)}: the server would see nothing of the environment")

    def check(self, observation: Observation) -> dict[str, np.ndarray]:
        """The arrays [B, ...] that are read. Raises ValueError where they are not the environment's."""
        arrays = {key: np.asarray(observation[key]) for key in self.observation_keys}
        size = len(arrays[self.observation_keys[0]])
        for key, array in arrays.items():
            shape, dtype = self._spec(key)
            if array.shape != (size, *shape) or (array.dtype == np.uint8) != (dtype == "uint8") or size < 1:
                raise ValueError(
                    f"observation[{key!r}]: need {dtype} of shape (B, {', '.join(map(str, shape))}) with B >= 1, "
                    f"got {array.dtype} of {array.shape}"
                )
        return arrays

    def blank(self) -> dict[str, np.ndarray]:
        """One observation [1, ...] of zeros."""
        specs = {key: self._spec(key) for key in self.observation_keys}
        return {key: np.zeros((1, *shape), dtype) for key, (shape, dtype) in specs.items()}

    def fields(self, arrays: Mapping[str, np.ndarray], row: int, instruction: str) -> dict[str, np.ndarray | str]:
        """What the server is sent about one row."""
        return {name: self._field(source, arrays, row, instruction) for name, source in self._sources.items()}

    def _field(self, source: str, arrays: Mapping[str, np.ndarray], row: int, instruction: str) -> np.ndarray | str:
        if source == INSTRUCTION:
            return instruction
        key, part = self._slices[source]
        value = arrays[key][row]
        if self._spec(key)[1] != "uint8":
            return value[part].astype(np.float32)
        value = fitted(value, self._size) if self._size else value
        return np.zeros_like(value) if source == BLACK else value

    def _slice(self, source: str) -> tuple[str, slice]:
        """The entry of the observation that a source is in, and where."""
        key, _, part = source.partition(".")
        key = FRAME if source == BLACK else key
        layout = self._env_spec.layout.get(key, {})
        known = {**self._env_spec.cameras, **self._env_spec.observation}
        if key not in known or (part and part not in layout):
            names = [name for name in known if name != FRAME]
            parts = [f"{name}.{each}" for name in names for each in self._env_spec.layout.get(name, {})]
            choices = [INSTRUCTION, *([FRAME, BLACK] if FRAME in known else []), *names, *parts]
            raise ValueError(f"teacher.request: {self._env_spec.name} has no {source!r}: choose from {choices}")
        return key, slice(*layout[part]) if part else slice(None)

    def _spec(self, key: str) -> tuple[tuple[int, ...], str]:
        if key in self._env_spec.cameras:
            return tuple(self._env_spec.cameras[key]), "uint8"
        return tuple(self._env_spec.observation[key].shape), self._env_spec.observation[key].dtype


def fitted(frame: np.ndarray, size: int) -> np.ndarray:
    """A frame uint8 [H, W, 3] fitted into a square, bilinearly, its sides' ratio kept and the rest black."""
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame
    ratio = max(width, height) / size
    inner = Image.fromarray(frame).resize((int(width / ratio), int(height / ratio)), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (size, size))
    square.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
    return np.asarray(square)
