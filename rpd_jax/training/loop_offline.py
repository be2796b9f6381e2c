"""Iterations of a family that learns from recorded demonstrations: transitions drawn on the device, then updates."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rpd_jax.algorithms.base import Algorithm, MemberState, Metrics, iteration_keys
from rpd_jax.algorithms.sft import Demonstrated
from rpd_jax.algorithms.variants import Variant
from rpd_jax.config import Config
from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.envs.base import EnvSpec
from rpd_jax.guidance.labels import Ledger
from rpd_jax.policies import normalization
from rpd_jax.training import summary
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Observation


class OfflineLoop:
    """Learns from demonstrations; no environment is stepped.

    Raises:
      ConfigError: the demonstrations cannot be read, or do not fit the environment that the student is for.
    """

    def __init__(self, config: Config, spec: EnvSpec, population: Population) -> None:
        self._config, self._population = config, population
        self.at_once = 1
        self.ledgers = [Ledger() for _ in population.members]
        self._transitions = jax.device_put(load(config, spec, population.keys))
        algorithm = config.algorithm
        learn = functools.partial(_iteration, population.algorithm, algorithm.steps_per_iteration, algorithm.batch_size)
        self._learn = jax.jit(learn, donate_argnums=0)

    def run(self, members: MemberState, first: int, count: int) -> tuple[MemberState, list[dict[str, float]]]:
        if first == 0:  # the moments of all demonstrations, once and for all
            renew = jax.vmap(normalization.update, in_axes=(0, None), axis_size=len(self._population))
            members = members._replace(normalizer=renew(members.normalizer, self._transitions.observation))
        rows = []
        for iteration in range(first, first + count):
            started = time.perf_counter()
            progress = np.float32(iteration / self._config.iterations)
            members, metrics = self._learn(members, self._population.variants, self._transitions, progress)
            row = summary.flatten("update", self._population, summary.by_member(jax.device_get(metrics)))
            rows.append(row | {"time/iteration": time.perf_counter() - started})
        return members, rows

    def state_dict(self) -> Any:
        """Nothing: which transitions are drawn follows from the members' keys."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


def _iteration(
    algorithm: Algorithm,
    steps: int,
    batch_size: int,
    members: MemberState,
    variants: Variant,
    transitions: Demonstrated,
    progress: Array,
) -> tuple[MemberState, Metrics]:
    def draw(key: Array) -> Array:
        return jax.random.randint(iteration_keys(key)[2], (steps, batch_size), 0, len(transitions.action))

    rows = jax.vmap(draw, out_axes=1)(members.key)  # [steps, P, B]
    return algorithm.update(members, variants, jax.tree.map(lambda x: x[rows], transitions), None, progress)


def load(config: Config, spec: EnvSpec, keys: Sequence[str]) -> Demonstrated:
    """All transitions [M, ...] of `algorithm.demonstrations`, with the entries `keys` of their observations.

    Raises:
      ConfigError: no episodes there, or they were recorded with other actions or observations than the environment has.
    """
    where = f"algorithm.demonstrations={config.algorithm.demonstrations!r}"
    with Demonstrations(config.algorithm.demonstrations) as demonstrations:
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
    return Demonstrated(observation, action)
