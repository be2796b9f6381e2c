"""Running moments of observations, so that centimetres and radians reach the network at one scale.

A member's moments stay fixed during an iteration and are renewed after its update: acting and learning always see
the same normalisation, and old log-probabilities stay exact. So the first iteration acts and learns on observations as
they are; leaving its learning out was tried, and is worse (BENCHMARKS.md).
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax.numpy as jnp

from rpd_jax.types import Observation

CLIP = 10.0  # standard deviations
# Added to variances, in squared units of the observation: a standard deviation of 1e-4, a tenth of a millimetre. What
# varies less is noise (a cube that nobody has lifted yet), and is not blown up to unit size.
VARIANCE_FLOOR = 1e-8


class Moments(NamedTuple):
    """Moments of one entry of the observation; leaves may carry a leading member axis [P]."""

    count: chex.Array  # observations seen, a float scalar
    mean: chex.Array  # [D]
    m2: chex.Array  # [D], sum of squared differences from the mean


Normalizer = dict[str, Moments]
"""Moments by name of the entry; entries without moments (frames) are passed on as they are."""


def init(shapes: dict[str, tuple[int, ...]]) -> Normalizer:
    """Moments of nothing yet, which leave observations as they are."""
    return {name: Moments(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape)) for name, shape in shapes.items()}


def normalize(normalizer: Normalizer, observation: Observation) -> Observation:
    """(x - mean) / sqrt(variance + floor) of each entry [*B, D], clipped to +-10; as it is before the first update."""
    return {name: _normalize(normalizer[name], x) if name in normalizer else x for name, x in observation.items()}


def update(normalizer: Normalizer, observation: Observation) -> Normalizer:
    """Adds a batch of observations [B, D] (the parallel variance formula of Chan et al., 1979)."""
    return {name: _update(moments, observation[name]) for name, moments in normalizer.items()}


def _normalize(moments: Moments, x: chex.Array) -> chex.Array:
    variance = moments.m2 / jnp.maximum(moments.count, 1.0)
    std = jnp.where(moments.count > 0, jnp.sqrt(variance + VARIANCE_FLOOR), 1.0)
    shape = (1,) * (x.ndim - moments.mean.ndim) + moments.mean.shape
    return jnp.clip((x - moments.mean.reshape(shape)) / std.reshape(shape), -CLIP, CLIP)


def _update(moments: Moments, x: chex.Array) -> Moments:
    chex.assert_rank(x, moments.mean.ndim + 1)
    added = jnp.asarray(x.shape[0], jnp.float32)
    mean = jnp.mean(x, axis=0)
    m2 = jnp.sum(jnp.square(x - mean[None]), axis=0)
    count = moments.count + added
    delta = mean - moments.mean
    return Moments(
        count=count,
        mean=moments.mean + delta * added / count,
        m2=moments.m2 + m2 + jnp.square(delta) * moments.count * added / count,
    )
