"""Small episodes whose numbers say where they are from."""

from __future__ import annotations

import numpy as np

from rpd_jax.demonstrations.episode import Episode


def made_episode(
    number: int, length: int = 5, size: int = 8, instruction: str = "push the cube", dims: int = 7
) -> Episode:
    """Frame t is filled with 10 * number + t; action t is number + t / 10 in every dimension."""
    steps = np.arange(length + 1)
    shade = (10 * number + steps).astype(np.uint8)
    ends = np.arange(length) == length - 1
    return Episode(
        observation={"rgb": np.broadcast_to(shade[:, None, None, None], (length + 1, size, size, 3)).copy()},
        action=np.broadcast_to((number + steps[:-1] / 10)[:, None], (length, dims)).astype(np.float32),
        reward=None,
        terminated=ends,
        truncated=np.zeros(length, bool),
        success=ends & (number % 2 == 0),
        seed=number,
        instruction=instruction,
        env_name="made:Up-v0",
    )
