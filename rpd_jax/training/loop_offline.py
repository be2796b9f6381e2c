"""Iterations of a family that learns from recorded demonstrations: transitions drawn on the device, then updates."""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import numpy as np

from rpd_jax.algorithms.base import Algorithm, MemberState, Metrics, iteration_keys
from rpd_jax.algorithms.variants import Variant, at
from rpd_jax.config import Config
from rpd_jax.demonstrations.transitions import Demonstrations, draw, load
from rpd_jax.envs.base import EnvSpec
from rpd_jax.guidance.labels import Ledger
from rpd_jax.policies import normalization
from rpd_jax.training import summary
from rpd_jax.training.population import Population
from rpd_jax.types import Array


class OfflineLoop:
    """Learns from demonstrations; no environment is stepped.

    Raises:
      ConfigError: the demonstrations cannot be read, or do not fit the environment that the student is for.
    """

    def __init__(self, config: Config, spec: EnvSpec, population: Population) -> None:
        self._config, self._population = config, population
        self.at_once = 1
        self.ledgers = [Ledger() for _ in population.members]
        self._demonstrations = jax.device_put(load(config, spec, population.keys))
        algorithm = config.algorithm
        learn = functools.partial(_iteration, population.algorithm, algorithm.steps_per_iteration, algorithm.batch_size)
        split = population.mesh.split(learn, (0, 0, None, None))
        self._learn = jax.jit(split, donate_argnums=0, **population.mesh.stay(False, None))

    def run(self, members: MemberState, first: int, count: int) -> tuple[MemberState, list[dict[str, float]]]:
        if first == 0 and not self._config.algorithm.start:
            # The moments of all demonstrations, once and for all; who knows few of them has these statistics too.
            renew = jax.vmap(normalization.update, in_axes=(0, None), axis_size=len(self._population))
            seen = self._demonstrations.transitions.observation
            members = members._replace(normalizer=renew(members.normalizer, seen))
        rows = []
        for iteration in range(first, first + count):
            started = time.perf_counter()
            progress = np.float32(iteration / self._config.iterations)
            members, metrics = self._learn(members, self._population.variants, self._demonstrations, progress)
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
    demonstrations: Demonstrations,
    progress: Array,
) -> tuple[MemberState, Metrics]:
    variants = at(variants, progress)
    keys = jax.vmap(lambda key: iteration_keys(key)[2])(members.key)
    batch = draw(demonstrations, keys, variants.floats["episodes"], (steps, batch_size))
    return algorithm.update(members, variants, batch, None, progress)
