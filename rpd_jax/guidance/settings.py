"""How a variant uses its teacher: the query steps, how long a label holds, and when guidance ends."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax.numpy as jnp

from rpd_jax.config.variant import QUERIES, GuidanceSpec

__all__ = ["QUERIES", "Guidance", "GuidanceSpec", "to_guidance"]


class Guidance(NamedTuple):
    """A `GuidanceSpec` as the learner sees it; every leaf is a scalar and may carry a leading member axis [P]."""

    strategy: chex.Array  # index into QUERIES
    max_calls: chex.Array  # of an environment in a rollout
    min_calls: chex.Array
    window: chex.Array
    kappa: chex.Array
    shut_off: chex.Array
    over_all: chex.Array  # 1.0: the distillation loss is a mean over all steps; 0.0: over the supervised ones


def to_guidance(spec: GuidanceSpec, rollout_length: int) -> Guidance:
    """Resolves a spec; raises ConfigError where the fraction allows no call."""
    return Guidance(
        strategy=jnp.int32(QUERIES.index(spec.queries)),
        max_calls=jnp.int32(spec.max_calls(rollout_length)),
        min_calls=jnp.int32(spec.min_calls),
        window=jnp.int32(spec.window),
        kappa=jnp.float32(spec.kappa),
        shut_off=jnp.float32(spec.shut_off),
        over_all=jnp.float32(spec.average == "all"),
    )
