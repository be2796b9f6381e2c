"""Demonstrations as arrays that a learner draws transitions from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import Config
from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations import reading
from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Array, Observation


class Demonstrated(NamedTuple):
    """Transitions of demonstrations."""

    observation: Observation  # [..., *D], normalised by nobody yet
    action: Array  # [..., A]


class Demonstrations(NamedTuple):
    """All transitions of some demonstrations, one episode after the other."""

    transitions: Demonstrated  # leaves [M, ...]
    ends: Array  # int32 [E]: transitions up to the end of each episode


def draw(demonstrations: Demonstrations, keys: Array, episodes: Array, shape: tuple[int, int]) -> Demonstrated:
    """Transitions [steps, P, B, ...] of `shape` (steps, B), drawn by each member's key from its first episodes.

    Args:
      keys: [P].
      episodes: float [P]: how many each member knows; infinity: all.
    """

    ends = jnp.asarray(demonstrations.ends)

    def one(key: Array, count: Array) -> Array:
        last = jnp.minimum(count, len(ends)).astype(jnp.int32) - 1
        return jax.random.randint(key, shape, 0, ends[last])

    rows = jax.vmap(one, out_axes=1)(keys, episodes)  # [steps, P, B]
    return jax.tree.map(lambda x: jnp.asarray(x)[rows], demonstrations.transitions)


def load(config: Config, spec: EnvSpec, keys: Sequence[str]) -> Demonstrations:
    """What is in `algorithm.demonstrations`, with the entries `keys` of the observations.

    Raises:
      ConfigError: no episodes there, or they were recorded with other actions or observations than the environment has.
    """
    where = f"algorithm.demonstrations={config.algorithm.demonstrations!r}"
    if not config.algorithm.demonstrations:
        raise ConfigError(f"{where} cannot work: name a directory of launch.collect, or a trajectory.h5")
    with reading.Demonstrations(config.algorithm.demonstrations) as demonstrations:
        if not len(demonstrations):
            raise ConfigError(f"{where} cannot work: there are no episodes")
        info = demonstrations.info
        if info is not None and info.contract != spec.contract:
            raise ConfigError(f"{where} cannot work in {spec.name}: its actions have another contract")
        episodes = [demonstrations.episode(index, keys) for index in range(len(demonstrations))]
    for key in keys:
        shape = spec.observation[key].shape
        found = {episode.observation[key].shape[1:] if key in episode.observation else None for episode in episodes}
        if found != {shape}:
            raise ConfigError(
                f"{where} cannot work in {spec.name} with env.observation={config.env.observation!r}: {key!r} must "
                f"have shape {shape}, and has {sorted(map(str, found))}"
            )
    observation: Observation = {key: np.concatenate([each.observation[key][:-1] for each in episodes]) for key in keys}
    action = np.concatenate([episode.action for episode in episodes])
    if action.shape[1] != spec.action_dim:
        raise ConfigError(f"{where} cannot work in {spec.name}: {action.shape[1]} numbers are no action of it")
    ends = np.cumsum([len(episode.action) for episode in episodes]).astype(np.int32)
    return Demonstrations(Demonstrated(observation, action), ends)
