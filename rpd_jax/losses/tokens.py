"""Losses of token policies: functions of one token's logits; the caller vmaps over dimensions, steps and batch."""

from __future__ import annotations

import chex
import jax.numpy as jnp
from jax.nn import log_softmax


def cross_entropy(logits: chex.Array, token: chex.Array) -> chex.Array:
    """-log softmax(logits)[token] of one token, a scalar (RT-2, OpenVLA: arXiv 2406.09246).

    Args:
      logits: [bins].
      token: int scalar in [0, bins).
    """
    chex.assert_rank([logits, token], [1, 0])
    return -jnp.take(log_softmax(logits), token)
