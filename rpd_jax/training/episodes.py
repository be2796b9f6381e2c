"""Statistics of episodes as they end, one accumulator per environment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rpd_jax.envs.base import SimulatorFailed, StepResult
from rpd_jax.placement import host_view
from rpd_jax.types import Array


def check_finite(entries: Mapping[str, Array]) -> None:
    """The last resort against environments that let NaN and infinities out; ours truncate such episodes themselves.

    Raises SimulatorFailed with the name of the first of the arrays [B, ...] that is not finite, and where it is not.
    """
    for name, x in entries.items():
        if x.dtype.kind != "f":  # frames, flags
            continue
        x = host_view(x)
        xp = x.__array_namespace__()
        if not xp.isfinite(x).all():
            where = np.flatnonzero(~np.isfinite(np.asarray(x)).reshape(len(x), -1).all(axis=1))
            raise SimulatorFailed(
                f"{name!r} of environments {where.tolist()} is not finite: the simulation gave NaN or inf"
            )


class EpisodeTracker:
    """Adds up return, length and success of B running episodes and hands out those that end."""

    def __init__(self, num_envs: int) -> None:
        self.returns = np.zeros(num_envs, np.float64)
        self.lengths = np.zeros(num_envs, np.int64)
        self.success_once = np.zeros(num_envs, bool)

    def add(self, result: StepResult) -> dict[str, np.ndarray]:
        """Accounts for one step; returns the ended episodes' `index`, `return`, `length` and success, each [E].

        `success_once` holds if any state of the episode counted as success, `success_at_end` if its last did.
        Raises SimulatorFailed for an observation or a reward that is not finite.
        """
        check_finite({**result.observation, "reward": result.reward})
        self.returns += np.asarray(result.reward)
        self.lengths += 1
        success = np.asarray(result.success)
        self.success_once |= success
        index = np.flatnonzero(np.asarray(result.terminated) | np.asarray(result.truncated))
        if len(index):
            check_finite(result.final_observation)
        ended = {
            "index": index,
            "return": self.returns[index],
            "length": self.lengths[index],
            "success_once": self.success_once[index],
            "success_at_end": success[index],
        }
        self.returns[index] = 0.0
        self.lengths[index] = 0
        self.success_once[index] = False
        return ended

    def state_dict(self) -> dict[str, np.ndarray]:
        return {"returns": self.returns, "lengths": self.lengths, "success_once": self.success_once}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self.returns = np.array(state["returns"], np.float64)
        self.lengths = np.array(state["lengths"], np.int64)
        self.success_once = np.array(state["success_once"], bool)
