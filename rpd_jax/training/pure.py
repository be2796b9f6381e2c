"""Training as a pure function of a key: to be jitted, vmapped over keys, or made part of a larger program."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rpd_jax.algorithms.base import MemberState
from rpd_jax.algorithms.variants import at
from rpd_jax.config import Config, ConfigError
from rpd_jax.envs.base import FunctionalEnv
from rpd_jax.envs.own import own_suite
from rpd_jax.envs.registry import random_ages
from rpd_jax.keys import key_stream
from rpd_jax.training import rollout_traced
from rpd_jax.training.loops import Program
from rpd_jax.training.population import Population
from rpd_jax.training.setup import check
from rpd_jax.types import Array, Teacher

Train = Callable[[Array], tuple[MemberState, dict[str, Array]]]


def make_train(config: Config, env: FunctionalEnv, teacher: Teacher | None = None) -> Train:
    """A pure function that trains every variant of `config` from one random key.

        train = make_train(config, env, teacher)
        members, metrics = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 8))

    Nothing is evaluated, checkpointed or written; the result depends on config and key alone. `config.seeds` is not
    used: the members of one call are the variants V, all with the key's seed, so that they are paired.

    Args:
      config: what to run; `env.name`, `eval` and `run` are not used.
      env: written in JAX.
      teacher: can be traced (`spec.in_graph`); its labels are in the environment's contract. Needed if any variant is
        guided.

    Returns:
      a function from a key to (members, metrics): leaves [V, ...], and of each iteration [iterations, V], among them
      "episodes", "return", "length", "success_once" and "success_at_end" of the episodes that ended in it (NaN where
      none did).

    Raises:
      ConfigError: a setting cannot work, or the teacher cannot be traced.
    """
    config = copy.deepcopy(config)
    suite = own_suite(env)
    config.env.name, config.seeds = suite.name, (0,)
    check(config, teacher, suite)
    if teacher is not None and not teacher.spec.in_graph:
        raise ConfigError(
            f"teacher {teacher.spec.name!r} cannot work in make_train: it is not written in JAX; use train"
        )
    population = Population(config, env.spec)
    if not population.algorithm.plays:
        raise ConfigError(f"algorithm.name={config.algorithm.name!r} cannot work in make_train: it plays nothing")
    program = Program.of(env, population, teacher)
    variants, num_envs, steps = population.variants, config.env.num_envs, env.spec.max_episode_steps
    in_phase = not random_ages(config.env, config.algorithm.rollout_length, steps)
    rows = population.env_rows(num_envs).ravel()  # variants play the same episodes, groups of environments share theirs

    def train(key: Array) -> tuple[MemberState, dict[str, Array]]:
        seeds = jnp.broadcast_to(jax.random.bits(key_stream(key, "seed"), (), jnp.uint32), (len(population),))
        base_seeds = jax.random.bits(key_stream(key, "environments"), (num_envs,), jnp.uint32)
        ages = jax.random.randint(key_stream(key, "ages"), (num_envs,), 0, 1 if in_phase else steps)
        everyone = (x[rows] for x in (base_seeds, ages))
        carry = (population.begin(seeds, at(variants, 0.0)), rollout_traced.begin(env, *everyone))
        askers = population.askers._replace(seeds=seeds)

        def iterate(carry: tuple, iteration: Array) -> tuple[tuple, dict[str, Array]]:
            members, running = carry
            members, running, (metrics, ended) = program.iteration(members, running, iteration, variants, askers)
            return (members, running), metrics | means(ended)

        (members, _), metrics = jax.lax.scan(iterate, carry, jnp.arange(config.iterations))
        return members, metrics

    return train


def means(ended: rollout_traced.Ended) -> dict[str, Array]:
    """How many episodes ended of each member, and their means, [P]; NaN where none did."""
    sums: dict[str, Any] = ended._asdict()
    count = sums.pop("episodes")
    return {"episodes": count, "return": sums.pop("returns") / count, "length": sums.pop("lengths") / count} | {
        name: total / count for name, total in sums.items()
    }
