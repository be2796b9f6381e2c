"""Transient guidance: fewer calls as the reward rises, permanently disabled once the student learns (VLAJS).

    N_calls <- max(N_min, floor(N_max exp(-kappa gain)))       gain = improvement / attainable, at least 0
    lambda  <- lambda_0 N_calls / N_max
    off     <- off, or the means of the last windows rise one after the other and the last is above a threshold

The mean reward of a rollout step is smoothed over windows of a few iterations; the improvement is that of the last
window over the mean of those before. The formulas are the paper's, the smoothing and the scale of the gain ours.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax.numpy as jnp

from rpd_jax.guidance.settings import QUERIES, Guidance


class Schedule(NamedTuple):
    """The state of a member's guidance between two iterations; leaves may carry a leading member axis [P]."""

    rewards: chex.Array  # [L] mean reward of a step in the last L iterations, newest last
    iterations: chex.Array  # int32, of which rewards are known; negative: so many are left out first
    calls: chex.Array  # int32, of an environment in the next rollout
    off: chex.Array  # bool, permanently disabled


def begin(guidance: Guidance, length: int, unsettled: int = 0) -> Schedule:
    """Before the first rollout; `length` = windows x iterations of a window.

    The first `unsettled` rollouts do not count: in them, environments that began together grow apart.
    """
    return Schedule(
        rewards=jnp.zeros(length),
        iterations=jnp.asarray(-unsettled, jnp.int32),
        calls=jnp.asarray(guidance.max_calls, jnp.int32),
        off=jnp.zeros((), bool),
    )


def advance(
    state: Schedule, guidance: Guidance, reward: chex.Array, *, windows: int, attainable: chex.Numeric
) -> Schedule:
    """After a rollout of one member.

    Args:
      state: before it.
      guidance: the member's.
      reward: mean reward of a step, over the rollout's environments and steps, a scalar.
      windows: into which the L rewards are divided, at least 2.
      attainable: the largest mean reward of a step that can be hoped for.
    """
    chex.assert_rank(reward, 0)
    rewards = jnp.append(state.rewards[1:], reward)
    iterations = state.iterations + 1
    means = jnp.mean(rewards.reshape(windows, -1), axis=1)
    known = iterations >= len(rewards)  # before that the history says nothing
    gain = jnp.where(known, jnp.maximum(means[-1] - jnp.mean(means[:-1]), 0.0), 0.0) / attainable
    rises = jnp.all(means[1:] > means[:-1])
    off = state.off | (known & rises & (means[-1] > guidance.shut_off * attainable))
    wanted = jnp.floor(guidance.max_calls * jnp.exp(-guidance.kappa * gain)).astype(jnp.int32)
    calls = jnp.where(off, 0, jnp.maximum(guidance.min_calls, wanted))
    return Schedule(rewards, iterations, calls, off)


def weight(state: Schedule, guidance: Guidance) -> chex.Array:
    """lambda_t / lambda_0, a scalar: 1 where every step is a query."""
    share = state.calls / guidance.max_calls
    return jnp.where(is_sparse(guidance), share, 1.0)


def is_sparse(guidance: Guidance) -> chex.Array:
    """Whether only some steps are queries."""
    return guidance.strategy != QUERIES.index("all")
