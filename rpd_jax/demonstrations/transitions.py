"""Demonstrations as arrays that a learner draws transitions from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import Config
from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.episode import Episode
from rpd_jax.demonstrations.sets import open_demonstrations
from rpd_jax.envs.base import INSTRUCTION, EnvSpec
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

    Several directories take turns, so that the first episodes are of all of them. The entry "instruction" is that of
    the episode.

    Raises:
      ConfigError: no episodes there, or they were recorded with other actions or observations than the environment has,
        or of a task that is none of its own.
    """
    paths = config.algorithm.demonstrations
    if not paths:
        raise ConfigError("algorithm.demonstrations is empty: name a directory of rpd-jax collect, or a trajectory.h5")
    sets = [_episodes(path, config, spec, keys) for path in paths]
    episodes = [each for turn in itertools.zip_longest(*sets) for each in turn if each is not None]
    whole = jax.tree.map(lambda *x: np.concatenate(x), *episodes)
    return Demonstrations(whole, np.cumsum([len(each.action) for each in episodes]).astype(np.int32))


def _episodes(path: str, config: Config, spec: EnvSpec, keys: Sequence[str]) -> list[Demonstrated]:
    """The episodes of one directory, leaves [T, ...]."""
    where = f"algorithm.demonstrations={path!r}"
    recorded = [key for key in keys if key != INSTRUCTION]
    if not Path(path).exists():
        raise ConfigError(f"{where} cannot work: nothing is there; rpd-jax collect records demonstrations")
    with open_demonstrations(path) as demonstrations:
        if not len(demonstrations):
            raise ConfigError(f"{where} cannot work: there are no episodes")
        info = demonstrations.info
        if info is not None and info.contract != spec.contract:
            raise ConfigError(f"{where} cannot work in {spec.name}: its actions have another contract")
        episodes = [demonstrations.episode(index, recorded) for index in range(len(demonstrations))]
    unknown = {episode.instruction for episode in episodes} - set(spec.instructions)
    if INSTRUCTION in keys and unknown:
        raise ConfigError(f"{where} cannot work in {spec.name}: {min(unknown)!r} is none of {list(spec.instructions)}")
    for key in recorded:
        shape = spec.observation[key].shape
        found = {episode.observation[key].shape[1:] if key in episode.observation else None for episode in episodes}
        if found != {shape}:
            raise ConfigError(
                f"{where} cannot work in {spec.name} with env.observation={config.env.observation!r}: {key!r} must "
                f"have shape {shape}, and has {sorted(map(str, found))}"
            )
    for episode in episodes:
        if episode.action.shape[1] != spec.action_dim:
            raise ConfigError(
                f"{where} cannot work in {spec.name}: {episode.action.shape[1]} numbers are no action of it"
            )

    def transitions(episode: Episode) -> Demonstrated:
        observation: Observation = {key: episode.observation[key][:-1] for key in recorded}
        if INSTRUCTION in keys:
            observation[INSTRUCTION] = np.full(episode.length, spec.instructions.index(episode.instruction), np.int32)
        return Demonstrated(observation, episode.action)

    return [transitions(episode) for episode in episodes]
