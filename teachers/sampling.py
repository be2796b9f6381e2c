"""How a teacher's label is made of draws."""

from __future__ import annotations

import dataclasses

from rpd_jax.config.validation import Settings, setting
from rpd_jax.types import Array, TeacherLabels


@dataclasses.dataclass
class Sampling(Settings):
    """How a label is made of draws: by itself, or as part of a teacher's settings."""

    # Draws per label. Their mean is the action; of two or more, the standard deviation is the std.
    samples: int = setting(1, low=1)
    # Of a label of one draw; None: the larger of what the teacher knows of its noise and min_std.
    std: float | None = setting(None, above=0)
    min_std: float = setting(0.05, above=0)  # the least, in action units, that a label made of several draws gives

    def labels(self, draws: Array, noise: float = 0.0, ddof: int = 1) -> TeacherLabels:
        """Valid labels [B, ...] from draws [K, B, A], or [B, C, ...] from draws [K, B, C, A] of chunks.

        `noise` is the std of a draw as far as the teacher knows it; `ddof` 1 divides by K - 1, 0 by K.
        """
        import jax.numpy as jnp  # here: settings need no jax

        action = draws.mean(axis=0)
        if self.samples > 1:
            std = jnp.maximum(draws.std(axis=0, ddof=ddof), self.min_std)
        else:
            std = jnp.full_like(action, self.std if self.std is not None else max(noise, self.min_std))
        return TeacherLabels(action, jnp.ones(action.shape[:-1], bool), std)
