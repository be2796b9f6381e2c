"""Acting with all chunks that have been predicted for the present step (temporal ensembling).

A model predicts H actions for the present and the following steps. (`training.evaluation.TeacherPolicy` executes them
one chunk after the other.) Pure functions of a state that a scan can carry; axes: B environments, H actions of a chunk,
A dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax.numpy as jnp

from rpd_jax.types import Array


class Plans(NamedTuple):
    """The chunks predicted in the last H steps."""

    chunks: Array  # [H, B, H, A], the newest first: chunks[k] was predicted k steps ago
    made: Array  # bool [H, B]: whether there was a prediction then, in this episode


def no_plans(batch: int, horizon: int, dims: int) -> Plans:
    """Before the first step."""
    return Plans(jnp.zeros((horizon, batch, horizon, dims)), jnp.zeros((horizon, batch), bool))


def add_plan(plans: Plans, chunk: Array, starts: Array) -> Plans:
    """Takes in the chunk [B, H, A] predicted now; older ones are forgotten where an episode `starts`, bool [B]."""
    chex.assert_shape(chunk, plans.chunks.shape[1:])
    kept = plans.made[:-1] & ~jnp.broadcast_to(starts[None], plans.made[:-1].shape)
    return Plans(
        chunks=jnp.concatenate([chunk[None], plans.chunks[:-1]]),
        made=jnp.concatenate([jnp.ones_like(plans.made[:1]), kept]),
    )


def ensembled(plans: Plans, decay: float = 0.0) -> Array:
    """The mean of all that was predicted for the present step, [B, A].

    As in the official wrapper, predictions weigh exp(-decay * k) with k = 0 for the *oldest* one that there is: a
    positive decay favours old predictions, a negative one new ones; 0 is the plain mean.
    """
    horizon = plans.made.shape[0]
    for_now = jnp.stack([plans.chunks[age, :, age] for age in range(horizon)])  # [H, B, A]
    oldest = horizon - 1 - jnp.argmax(jnp.flip(plans.made, axis=0), axis=0)  # [B], age of the oldest
    rank = jnp.maximum(oldest[None] - jnp.arange(horizon)[:, None], 0)
    weight = jnp.where(plans.made, jnp.exp(-decay * rank), 0.0)
    weight = weight / jnp.sum(weight, axis=0, keepdims=True)
    return jnp.sum(jnp.broadcast_to(weight[..., None], for_now.shape) * for_now, axis=0)
