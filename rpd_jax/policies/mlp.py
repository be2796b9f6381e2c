"""Fully connected actor-critics for state observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import chex
import flax.linen as nn
import jax.numpy as jnp

from rpd_jax.policies.dense import Dense
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.policies.tokens import Tokens
from rpd_jax.types import Observation


class MLPActorCritic(nn.Module):
    """Separate tanh trunks for actor and critic, orthogonal initialisation (ManiSkill's state PPO).

    The observation has one entry, whatever its name.
    """

    action_dim: int
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Gaussian, chex.Array]:
        (x,) = observation.values()
        chex.assert_rank(x, 2)
        mean = mlp(x, self.hidden, self.action_dim, nn.tanh, 0.01 * math.sqrt(2), "actor")
        value = mlp(x, self.hidden, 1, nn.tanh, math.sqrt(2), "critic")
        return gaussian_head(self, mean), value[:, 0]


class MLPTokens(nn.Module):
    """The same actor with a distribution over `bins` tokens for each action dimension, and no critic.

    `low` and `high` [A] are the ends of the range that the bins divide.
    """

    low: Sequence[float]
    high: Sequence[float]
    bins: int
    hidden: Sequence[int]

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Tokens, None]:
        (x,) = observation.values()
        chex.assert_rank(x, 2)
        logits = mlp(x, self.hidden, len(self.low) * self.bins, nn.tanh, 0.01 * math.sqrt(2), "actor")
        return Tokens.of(logits.reshape(x.shape[0], len(self.low), self.bins), self.low, self.high), None


def mlp(
    x: chex.Array,
    hidden: Sequence[int],
    out: int,
    activation: Callable[[chex.Array], chex.Array],
    last_scale: float,
    name: str,
) -> chex.Array:
    """Layers of widths `hidden` and a last one of `out`, orthogonal, [B, D] -> [B, out]."""
    for i, width in enumerate(hidden):
        x = activation(Dense(width, name=f"{name}_{i}")(x))
    return Dense(out, last_scale, name=f"{name}_out")(x)


def gaussian_head(module: nn.Module, mean: chex.Array) -> Gaussian:
    """A Gaussian whose log standard deviation does not depend on the state."""
    shape = (mean.shape[-1],)
    log_std = module.param("log_std", nn.initializers.zeros, shape)  # `base.make_policy` has the values
    return Gaussian(mean, jnp.broadcast_to(log_std, mean.shape))
