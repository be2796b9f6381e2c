"""How a teacher's label is made of draws."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from rpd_jax.types import Array, TeacherLabels


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a label is made of draws.

    Attributes:
      samples: draws per label. Their mean is the action; of two or more, the standard deviation is the std.
      std: the std of a label of one draw; None: the larger of what the teacher knows of its noise and `min_std`.
      min_std: the least std, in action units, that a label made of several draws gives.
    """

    samples: int = 1
    std: float | None = None
    min_std: float = 0.05

    def __post_init__(self) -> None:
        if not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < 1:
            raise ValueError(f"samples={self.samples!r}: must be a whole number, at least 1")
        for name in ("std", "min_std"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r}: must be positive")

    def label(self, draws: Array, noise: float = 0.0, ddof: int = 1) -> TeacherLabels:
        """Valid labels [B, ...] from draws [K, B, A].

        `noise` is the std of a draw as far as the teacher knows it; `ddof` 1 divides by K - 1, 0 by K.
        """
        action = draws.mean(axis=0)
        if self.samples > 1:
            std = jnp.maximum(draws.std(axis=0, ddof=ddof), self.min_std)
        else:
            std = jnp.full_like(action, self.std if self.std is not None else max(noise, self.min_std))
        return TeacherLabels(action, jnp.ones(action.shape[:-1], bool), std)
