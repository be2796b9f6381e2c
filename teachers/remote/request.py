"""What a policy server is sent: the environment's observation under the server's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Observation
from teachers.remote.expression import INSTRUCTION, Expression, Reader, key_shape
from teachers.remote.steps import fitted


class Request:
    """Turns observations into the fields of a request.

    Args:
      entries: "NAME=EXPRESSION" each, e.g. "observation/image=rgb|rotate180"; see `expression`.
      env_spec: of the environment.
      frame_size: pixels of the square that a frame is fitted into whose entry has no step for its size; 0: it is sent
        as it is.

    Raises:
      ValueError: an entry that is none, a name twice, something that the environment does not have, or a step that does
        not fit what it is given.
    """

    def __init__(self, entries: Sequence[str], env_spec: EnvSpec, frame_size: int = 224) -> None:
        self._env_spec, self._size = env_spec, frame_size
        self._readers: dict[str, Reader | None] = {}  # None: the instruction
        self._fitted: set[str] = set()
        keys: dict[str, None] = {}  # in the order of their first use
        for entry in entries:
            name, separator, text = (part.strip() for part in entry.partition("="))
            if not (name and separator and text) or name in self._readers:
                raise ValueError(f"teacher.request: {entry!r} must be NAME=SOURCE, each name once")
            if text == INSTRUCTION:
                self._readers[name] = None
                continue
            try:
                expression = Expression(text, env_spec)
                value = expression.read(self._zeros(expression.keys), 0)
            except ValueError as error:
                raise ValueError(f"teacher.request: {entry!r}: {error}") from None
            if value.ndim == 3 and frame_size and not expression.sets_size:
                self._fitted.add(name)
            self._readers[name] = expression.read
            keys |= dict.fromkeys(expression.keys)
        self.observation_keys = tuple(keys)
        if not keys:
            raise ValueError(f"teacher.request={tuple(entries)}: the server would see nothing of the environment")

    def check(self, observation: Observation) -> dict[str, np.ndarray]:
        """The arrays [B, ...] that are read. Raises ValueError where they are not the environment's."""
        arrays = {key: np.asarray(observation[key]) for key in self.observation_keys}
        size = len(arrays[self.observation_keys[0]])
        for key, array in arrays.items():
            shape, dtype = key_shape(self._env_spec, key)
            if array.shape != (size, *shape) or (array.dtype == np.uint8) != (dtype == "uint8") or size < 1:
                raise ValueError(
                    f"observation[{key!r}]: need {dtype} of shape (B, {', '.join(map(str, shape))}) with B >= 1, "
                    f"got {array.dtype} of {array.shape}"
                )
        return arrays

    def blank(self) -> dict[str, np.ndarray]:
        """One observation [1, ...] of zeros."""
        return self._zeros(self.observation_keys)

    def fields(self, arrays: Mapping[str, np.ndarray], row: int, instruction: str) -> dict[str, np.ndarray | str]:
        """What the server is sent about one row."""
        fields: dict[str, np.ndarray | str] = {}
        for name, read in self._readers.items():
            value = instruction if read is None else read(arrays, row)
            fields[name] = fitted(value, self._size) if name in self._fitted else value  # type: ignore[arg-type]
        return fields

    def _zeros(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        specs = {key: key_shape(self._env_spec, key) for key in keys}
        return {key: np.zeros((1, *shape), dtype) for key, (shape, dtype) in specs.items()}
