"""What changes with training progress: the weight of distillation, learning rate, entropy. Functions of one member."""

from __future__ import annotations

import chex
import jax.numpy as jnp

from rpd_jax.algorithms.variants import Variant


def distillation_weight(variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The annealing factor at training progress in [0, 1], a scalar."""
    p = jnp.clip(progress / variant.anneal_until, 0.0, 1.0)
    end = variant.anneal_end
    factors = jnp.stack(
        [
            jnp.ones_like(p),
            1.0 + (end - 1.0) * p,
            end + (1.0 - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * p)),
            jnp.maximum(end, 1e-12) ** p,
        ]
    )
    return factors[variant.anneal_kind]


def learning_rate(variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The linearly annealed learning rate at training progress in [0, 1], a scalar."""
    return variant.floats["learning_rate"] * (1.0 + (variant.floats["learning_rate_end"] - 1.0) * progress)


def entropy_coef(variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The linearly annealed coefficient of the entropy at training progress in [0, 1], a scalar."""
    return variant.floats["entropy_coef"] * (1.0 + (variant.floats["entropy_coef_end"] - 1.0) * progress)
