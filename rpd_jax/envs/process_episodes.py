"""Which episodes the environments of processes play: each a sequence of reset seeds, which can be gone on with."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rpd_jax.envs.base import EnvSpec, episode_seed, first_ages
from rpd_jax.types import Observation


class EpisodeSequence(abc.ABC):
    """The part of a `base.VectorEnv` that counts episodes.

    Args:
      seeds: one base seed per environment; its k-th episode is reset with `episode_seed(seed, k)`.
      random_ages: whether episodes that begin together begin at ages of their own, see `base.first_ages`.
    """

    spec: EnvSpec

    def __init__(self, seeds: Sequence[int], random_ages: bool) -> None:
        self.num_envs = len(seeds)
        self._base_seeds, self._random_ages = [int(seed) for seed in seeds], random_ages
        self._episode = np.zeros(self.num_envs, np.int64)  # episodes begun so far
        self._seeds = np.zeros(self.num_envs, np.int64)  # of the next ones
        self._ages = np.zeros(self.num_envs, np.int32)  # of the next ones, if they begin together
        self._observation: Observation | None = None  # None: `reset` comes next

    def state_dict(self) -> dict[str, np.ndarray]:
        """{"episode": int64 [num_envs]}: how many episodes each environment has begun."""
        return {"episode": self._episode.copy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues the sequences of reset seeds there; `reset` comes next."""
        if set(state) != {"episode"}:
            raise ValueError(f"state: need the entry 'episode', got {sorted(state)}")
        episode = np.asarray(state["episode"])
        if episode.shape != (self.num_envs,) or episode.dtype.kind not in "iu" or (episode < 0).any():
            raise ValueError(
                f"state['episode']: need {self.num_envs} counts, got {episode.dtype} of shape {episode.shape}"
            )
        self._episode = episode.astype(np.int64)
        self._write_seeds(range(self.num_envs))
        self._observation = None

    @property
    def next_seeds(self) -> list[int]:
        """What the next episode of each environment is reset with."""
        return self._seeds.tolist()

    def _write_seeds(self, indices: Iterable[int]) -> None:
        rows = list(indices)
        for index in rows:
            self._seeds[index] = self._episode_seed(index)
        if self._random_ages and rows:
            seeds = [self._base_seeds[index] for index in rows]
            self._ages[rows] = first_ages(seeds, self.spec.max_episode_steps, self._episode[rows])
        self._publish_seeds()

    def _episode_seed(self, index: int) -> int:
        """The reset seed of an environment's next episode."""
        return episode_seed(self._base_seeds[index], int(self._episode[index]))

    def _count_episodes(self, begun: np.ndarray) -> None:
        """Takes note of the environments that began an episode, and gives them the seed of their next one."""
        self._episode += begun
        self._write_seeds(np.flatnonzero(begun))

    @abc.abstractmethod
    def _publish_seeds(self) -> None:
        """Writes `_seeds` and `_ages` where workers read them."""
