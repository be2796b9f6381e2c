"""The diagonal Gaussian over continuous actions: functions of one action vector; the caller vmaps."""

from __future__ import annotations

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

_LOG_2PI = math.log(2.0 * math.pi)


class Gaussian(NamedTuple):
    """Independent normals; `mean` and `log_std` have the same shape [A]."""

    mean: chex.Array
    log_std: chex.Array

    @property
    def std(self) -> chex.Array:
        return jnp.exp(self.log_std)

    def mode(self) -> chex.Array:
        """The most likely action [A]."""
        return self.mean

    def sample(self, key: chex.PRNGKey) -> chex.Array:
        """Draws an action [A]."""
        return self.mean + self.std * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def log_prob(self, action: chex.Array) -> chex.Array:
        """Log density of an action [A], a scalar."""
        return jnp.sum(log_prob_dims(self, action), axis=-1)

    def entropy(self) -> chex.Array:
        """Differential entropy in nats, a scalar."""
        return jnp.sum(self.log_std + 0.5 * (1.0 + _LOG_2PI), axis=-1)


def log_prob_dims(policy: Gaussian, action: chex.Array) -> chex.Array:
    """Log density of each action dimension, [A]; their sum is the action's."""
    chex.assert_equal_shape([policy.mean, policy.log_std, action])
    z = (action - policy.mean) * jnp.exp(-policy.log_std)
    return -0.5 * (z**2 + _LOG_2PI) - policy.log_std


def kl_dims(p: Gaussian, q: Gaussian) -> chex.Array:
    """KL(p || q) of each dimension, [A]: log(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2."""
    chex.assert_equal_shape([p.mean, p.log_std, q.mean, q.log_std])
    inverse_variance = jnp.exp(-2.0 * q.log_std)
    variance_ratio = jnp.exp(2.0 * (p.log_std - q.log_std))
    squared = (p.mean - q.mean) ** 2 * inverse_variance
    return q.log_std - p.log_std + 0.5 * (variance_ratio + squared - 1.0)
