"""Temporal ensembling: acting by a mean of all that was answered for the present step (ACT, arXiv 2304.13705).

A teacher answers with C actions, for the present step and the C - 1 after it, and is asked at every step: so up to C
answers speak of one step. Pure functions of the memory of one environment; their callers `vmap`.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.types import Array


class Answers(NamedTuple):
    """The answers of the last C steps, the newest first."""

    action: Array  # [C, C, A]: action[k, c] was answered k steps ago for the step c steps after that one
    usable: Array  # bool [C, C]; False also where nothing was answered in this episode


def no_answers(chunk: int, action_dim: int) -> Answers:
    """Before the first step."""
    return Answers(jnp.zeros((chunk, chunk, action_dim)), jnp.zeros((chunk, chunk), bool))


def remember(answers: Answers, plan: Array, starts: Array) -> Answers:
    """Takes in the answer to the present step.

    Args:
      answers: before it.
      plan: [C, A]; an action with an entry that is not finite cannot be used.
      starts: bool, a scalar: an episode begins with this step, for which earlier answers do not count.
    """
    chex.assert_shape(plan, answers.action.shape[1:])
    chex.assert_rank(starts, 0)
    usable = jnp.all(jnp.isfinite(plan), axis=-1)
    return Answers(
        action=jnp.concatenate([jnp.where(usable[:, None], plan, 0.0)[None], answers.action[:-1]]),
        usable=jnp.concatenate([usable[None], answers.usable[:-1] & ~starts]),
    )


def ensembled(answers: Answers, decay: Array | float) -> Array:
    """The weighted mean [A] of what can be used for the present step, the gripper among it; NaN where nothing can.

    The weights are proportional to exp(-decay * i), with i = 0 for the *oldest* answer, as ACT and Octo have it: a
    positive decay favours old answers, a negative one new ones, and 0 is the plain mean.
    """
    age = jnp.arange(len(answers.usable))
    usable = answers.usable[age, age]
    weight = jax.nn.softmax(jnp.where(usable, decay * age, -jnp.inf))  # of the same ratios as exp(-decay * i)
    return jnp.sum(weight[:, None] * answers.action[age, age], axis=0)
