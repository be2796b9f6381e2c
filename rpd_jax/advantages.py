"""Advantage estimators: functions of one trajectory [T], which the caller vmaps; at the end one of groups of them.

Every estimator reads the value of the *true* next observation, `next_value`, at each step, so that an
episode's end inside the trajectory bootstraps with its own final observation. `terminated` cuts the
bootstrap (unless asked not to), `truncated` never does; either stops the sum from running on into
the next episode.
"""

from __future__ import annotations

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp


def gae(
    reward: chex.Array,
    value: chex.Array,
    next_value: chex.Array,
    terminated: chex.Array,
    truncated: chex.Array,
    gamma: chex.Numeric,
    lam: chex.Numeric,
    bootstrap_terminated: bool = False,
) -> chex.Array:
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16), [T] -> [T].

    A_t = delta_t + gamma lam A_{t+1},  delta_t = r_t + gamma V(s_{t+1}) - V(s_t), with the recursion cut
    where an episode ends and V(s_{t+1}) taken as 0 after a termination.

    Args:
      reward, value, next_value: float [T].
      terminated, truncated: bool [T].
      gamma, lam: discount and mixing factor in [0, 1].
      bootstrap_terminated: keep gamma V(s_{t+1}) after a termination as well (ManiSkill's recipe: a success
        that ends the episode early must not cost the rewards that staying there would have brought).
    """
    next_value, ended = _prepare(reward, value, next_value, terminated, truncated, bootstrap_terminated)
    delta = reward + gamma * next_value - value

    def step(carry: chex.Array, x: tuple[chex.Array, chex.Array]) -> tuple[chex.Array, chex.Array]:
        delta_t, ended_t = x
        advantage = delta_t + gamma * lam * (1.0 - ended_t) * carry
        return advantage, advantage

    _, advantage = jax.lax.scan(step, jnp.zeros((), reward.dtype), (delta, ended), reverse=True)
    return advantage


def finite_horizon_gae(
    reward: chex.Array,
    value: chex.Array,
    next_value: chex.Array,
    terminated: chex.Array,
    truncated: chex.Array,
    gamma: chex.Numeric,
    lam: chex.Numeric,
    bootstrap_terminated: bool = False,
) -> chex.Array:
    """GAE whose lambda weights are normalised over the steps that are left, [T] -> [T].

    A_t = (sum_{k=1}^{K} lam^{k-1} G_t^(k)) / (sum_{k=1}^{K} lam^{k-1}) - V(s_t), with G_t^(k) the k-step
    return and K the steps until the episode or the trajectory ends (methods of RPD's public code; GAE's paper
    lets K go to infinity). Numerator and denominator obey S_t = W_t r_t + gamma V_{t+1} + gamma lam S_{t+1}
    and W_t = 1 + lam W_{t+1}, both restarted where an episode ends. Arguments as for `gae`.
    """
    next_value, ended = _prepare(reward, value, next_value, terminated, truncated, bootstrap_terminated)

    def step(carry: tuple[chex.Array, chex.Array], x: tuple[chex.Array, ...]) -> tuple[tuple, chex.Array]:
        returns, weights = carry
        reward_t, value_t, next_value_t, ended_t = x
        weights = 1.0 + lam * (1.0 - ended_t) * weights
        returns = weights * reward_t + gamma * next_value_t + gamma * lam * (1.0 - ended_t) * returns
        return (returns, weights), returns / weights - value_t

    zero = jnp.zeros((), reward.dtype)
    _, advantage = jax.lax.scan(step, (zero, zero), (reward, value, next_value, ended), reverse=True)
    return advantage


Estimator = Callable[..., chex.Array]

ESTIMATORS: dict[str, Estimator] = {"gae": gae, "finite_horizon": finite_horizon_gae}
"""Names as in `config.ADVANTAGES`."""


def _prepare(
    reward: chex.Array,
    value: chex.Array,
    next_value: chex.Array,
    terminated: chex.Array,
    truncated: chex.Array,
    bootstrap_terminated: bool,
) -> tuple[chex.Array, chex.Array]:
    """Returns the bootstrap values and a float mask of episode ends."""
    chex.assert_rank([reward, value, next_value, terminated, truncated], 1)
    chex.assert_equal_shape([reward, value, next_value, terminated, truncated])
    if not bootstrap_terminated:
        next_value = jnp.where(terminated, jnp.zeros_like(next_value), next_value)
    return next_value, jnp.logical_or(terminated, truncated).astype(reward.dtype)


def group_advantages(
    outcome: chex.Array, group: chex.Array, low: chex.Numeric = 0.1, high: chex.Numeric = 0.9
) -> tuple[chex.Array, chex.Array]:
    """(R - mean) / (std + 1e-6) over each trajectory's group, [N] -> [N] (GRPO: arXiv 2402.03300).

    The standard deviation is the unbiased one. Groups whose mean outcome is outside [low, high] say nothing about what
    to do and get 0 ("dynamic sampling", SimpleVLA-RL: arXiv 2509.09674).

    Args:
      outcome: float [N], 1 for a success and 0 for a failure.
      group: int [N]: trajectories from the same initial state have the same number.
      low, high: success rates of the groups that are kept.

    Returns:
      advantages [N], and which trajectories are of a kept group, bool [N].
    """
    chex.assert_rank([outcome, group], 1)
    same = (group[:, None] == group[None, :]).astype(outcome.dtype)  # [N, N]; of any group size, which may be traced
    size = jnp.sum(same, axis=1)
    mean = same @ outcome / size
    variance = jnp.sum(same * (outcome[None, :] - mean[:, None]) ** 2, axis=1) / jnp.maximum(size - 1.0, 1.0)
    kept = (mean >= low) & (mean <= high) & (variance > 0)
    advantage = (outcome - mean) / (jnp.sqrt(variance) + 1e-6)
    return jnp.where(kept, advantage, 0.0), kept
