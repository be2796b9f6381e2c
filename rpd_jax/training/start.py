"""Members that begin from the students of an earlier run."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rpd_jax.algorithms.base import MemberState
from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.runs.checkpoint import load_checkpoint
from rpd_jax.training.population import Population
from rpd_jax.training.student import restore_members


def from_start(population: Population, members: MemberState) -> MemberState:
    """Fresh members with parameters and normalisation of the students that `algorithm.start` names.

    Each member begins from the student of its own seed, or from the only one there is.

    Raises:
      CheckpointError: there is no run, or its students are of another policy.
      ConfigError: that run has several variants and `start_variant` is none of them, or seeds are missing.
    """
    algorithm = population.config.algorithm
    config, checkpoint = load_checkpoint(algorithm.start)
    earlier = Population(config, population.spec)
    variants = [spec.name for spec in earlier.specs]
    variant = algorithm.start_variant or variants[0]
    if len(variants) > 1 or algorithm.start_variant:
        choice("algorithm.start_variant", algorithm.start_variant, variants)
    seeds = {member.seed: row for row, member in enumerate(earlier.members) if member.variant.name == variant}
    missing = sorted(set(population.seeds) - set(seeds))
    if missing and len(seeds) > 1:
        raise ConfigError(
            f"algorithm.start={algorithm.start!r} cannot work for seeds={missing}: it has students of {sorted(seeds)}"
        )
    only = next(iter(seeds.values()))
    rows = jnp.array([seeds.get(seed, only) for seed in population.seeds])
    students = restore_members(earlier, checkpoint)
    params, normalizer = jax.tree.map(lambda x: x[rows], (students.params, students.normalizer))
    fresh = (members.params, members.normalizer)
    given, needed = (jax.tree.map(jnp.shape, tree) for tree in ((params, normalizer), fresh))
    if given != needed:
        raise ConfigError(
            f"algorithm.start={algorithm.start!r} cannot work: its students have another network, or other "
            "normalisation (see network.* and env.observation)"
        )
    optimizers = jax.jit(jax.vmap(population.algorithm.init_optimizer))(params)
    begun = members._replace(params=params, normalizer=normalizer, opt_state=optimizers)
    return population.mesh.place(begun)
