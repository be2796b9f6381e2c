"""The work that every program does: one PPO agent in an environment in which next to nothing happens.

A state decays, its first entries follow the action, the reward is its negative mean square, and an episode is cut off
after `episode` steps. Every program has this in its framework's own form. Standard library and numpy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DECAY, PUSH = 0.99, 0.1
GAMMA, LAMBDA, CLIP, RATE, GRAD_NORM, LOG_STD = 0.8, 0.9, 0.2, 3e-4, 0.5, -0.5


class Work(NamedTuple):
    """Of one iteration, and how many of them a program runs in its turn."""

    envs: int = 128
    steps: int = 50
    epochs: int = 8
    minibatches: int = 32
    observation: int = 42
    action: int = 7
    hidden: tuple[int, ...] = (128, 128)  # of actor and critic each, with tanh
    episode: int = 100
    iterations: int = 4

    @property
    def batch(self) -> int:
        return self.envs * self.steps


class NumpyEnvs:
    """All environments at once, as programs of torch like to step them."""

    def __init__(self, work: Work) -> None:
        self._work, self._rng = work, np.random.default_rng(0)
        self._age = 0

    def reset(self) -> np.ndarray:
        """The first observations, float32 [N, D]."""
        self._age = 0
        self._state = self._rng.standard_normal((self._work.envs, self._work.observation), np.float32)
        return self._state

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """(next observations, those before a reset, rewards [N], whether all episodes ended), for actions [N, A]."""
        last = DECAY * self._state
        last[:, : self._work.action] += np.float32(PUSH) * np.clip(action, -1, 1)
        self._state, reward = last, -np.square(last).mean(axis=1)
        self._age += 1
        ended = self._age == self._work.episode
        return self.reset() if ended else last, last, reward, ended
