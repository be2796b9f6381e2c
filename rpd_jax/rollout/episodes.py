"""Statistics of episodes as they end, one accumulator per environment."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rpd_jax.envs.base import StepResult


class EpisodeTracker:
    """Adds up return, length and success of B running episodes and hands out those that end."""

    def __init__(self, num_envs: int) -> None:
        self.returns = np.zeros(num_envs, np.float64)
        self.lengths = np.zeros(num_envs, np.int64)
        self.success_once = np.zeros(num_envs, bool)

    def add(self, result: StepResult) -> dict[str, np.ndarray]:
        """Accounts for one step; returns the ended episodes' `index`, `return`, `length` and success, each [E].

        `success_once` holds if any state of the episode counted as success, `success_at_end` if its last did.
        """
        self.returns += np.asarray(result.reward)
        self.lengths += 1
        success = np.asarray(result.success)
        self.success_once |= success
        index = np.flatnonzero(np.asarray(result.terminated) | np.asarray(result.truncated))
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
