"""Proximal policy optimisation (arXiv 1707.06347): terms of one transition, all minimised; the caller vmaps."""

from __future__ import annotations

import chex
import jax.numpy as jnp


def clipped_surrogate(
    ratio: chex.Array, advantage: chex.Array, clip_ratio: chex.Numeric, clip_high: chex.Numeric | None = None
) -> chex.Array:
    """max(-A r, -A clip(r, 1 - eps, 1 + eps)) (eq. 7 with its sign turned), a scalar.

    Args:
      ratio: pi(a|s) / pi_old(a|s), a scalar.
      advantage: a scalar.
      clip_ratio: eps.
      clip_high: eps above 1, where it is another one ("clip-higher", DAPO: arXiv 2503.14476).
    """
    chex.assert_rank([ratio, advantage], 0)
    clipped = jnp.clip(ratio, 1.0 - clip_ratio, 1.0 + (clip_ratio if clip_high is None else clip_high))
    return jnp.maximum(-advantage * ratio, -advantage * clipped)


def value_loss(value: chex.Array, old_value: chex.Array, target: chex.Array, value_clip: float | None) -> chex.Array:
    """0.5 (V - R)^2, a scalar; with `value_clip` the larger of it and the loss of V clipped around `old_value`."""
    chex.assert_rank([value, old_value, target], 0)
    loss = (value - target) ** 2
    if value_clip is not None:
        clipped = old_value + jnp.clip(value - old_value, -value_clip, value_clip)
        loss = jnp.maximum(loss, (clipped - target) ** 2)
    return 0.5 * loss


def approximate_kl(log_ratio: chex.Array) -> chex.Array:
    """(r - 1) - log r, a scalar: its mean over old samples estimates KL(pi_old || pi) (Schulman's k3)."""
    return jnp.expm1(log_ratio) - log_ratio


def normalize(advantage: chex.Array) -> chex.Array:
    """Subtracts the mean and divides by the standard deviation of a minibatch, [B] -> [B]."""
    chex.assert_rank(advantage, 1)
    return (advantage - jnp.mean(advantage)) / (jnp.std(advantage) + 1e-8)
