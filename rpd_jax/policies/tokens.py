"""Categorical distributions over action tokens: each action dimension is one of `bins` equal parts of its range.

Functions of one action vector; the caller vmaps. Token k of a dimension stands for the middle of bin k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import chex
import jax
import jax.numpy as jnp


class Tokens(NamedTuple):
    """Independent categoricals, one for each action dimension."""

    logits: chex.Array  # [A, bins]
    low: chex.Array  # [A], the ends of the range that the bins divide, in action units
    high: chex.Array  # [A]

    @classmethod
    def of(cls, logits: chex.Array, low: Sequence[float], high: Sequence[float]) -> Self:
        """Of logits [..., A, bins] and ends [A] of the dimensions' ranges."""
        ends = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), logits.shape[:-1]) for end in (low, high))
        return cls(logits, *ends)

    @property
    def bins(self) -> int:
        return self.logits.shape[-1]

    def decode(self, tokens: chex.Array) -> chex.Array:
        """The actions [A] that tokens int [A] stand for."""
        return self.low + (self.high - self.low) * (tokens + 0.5) / self.bins

    def encode(self, action: chex.Array) -> chex.Array:
        """The tokens int32 [A] of the bins that an action [A] lies in; beyond the range: of its ends."""
        share = (action - self.low) / (self.high - self.low)
        return jnp.clip(jnp.floor(share * self.bins), 0, self.bins - 1).astype(jnp.int32)

    def tempered(self, temperature: chex.Numeric) -> Self:
        """Of the logits divided by a temperature."""
        return self._replace(logits=self.logits / temperature)

    def mode(self) -> chex.Array:
        """The action [A] of the most likely tokens."""
        return self.decode(jnp.argmax(self.logits, axis=-1))

    def sample(self, key: chex.PRNGKey) -> chex.Array:
        """Draws an action [A]."""
        return self.decode(self.draw(key))

    def draw(self, key: chex.PRNGKey) -> chex.Array:
        """Draws tokens int32 [A]."""
        return drawn(self.logits, jax.random.uniform(key, self.logits.shape[:-1]))

    def token_log_probs(self, tokens: chex.Array) -> chex.Array:
        """Log probability of each of the tokens int [A], [A]."""
        logs = jax.nn.log_softmax(self.logits, axis=-1)
        return jnp.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]

    def log_prob(self, action: chex.Array) -> chex.Array:
        """Log probability of the tokens of an action [A], a scalar."""
        return jnp.sum(self.token_log_probs(self.encode(action)), axis=-1)

    @property
    def std(self) -> chex.Array:
        """The standard deviation of each dimension's action, [A]."""
        middles = jnp.broadcast_to((jnp.arange(self.bins) + 0.5) / self.bins, self.logits.shape)
        p = jax.nn.softmax(self.logits, axis=-1)
        mean = jnp.sum(p * middles, axis=-1, keepdims=True)
        return (self.high - self.low) * jnp.sqrt(jnp.sum(p * (middles - mean) ** 2, axis=-1))

    def entropy(self) -> chex.Array:
        """In nats, of all dimensions together, a scalar."""
        logs = jax.nn.log_softmax(self.logits, axis=-1)
        return -jnp.sum(jnp.exp(logs) * logs, axis=(-2, -1))


def drawn(logits: chex.Array, uniform: chex.Array) -> chex.Array:
    """Tokens int32 [...] by the inverse cumulative distribution of logits [..., bins].

    Args:
      uniform: random numbers in [0, 1), [...]: one for each token, instead of `bins`.
    """
    cumulative = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)
    below = jnp.sum(cumulative <= (uniform * cumulative[..., -1])[..., None], axis=-1)
    return jnp.minimum(below, logits.shape[-1] - 1).astype(jnp.int32)
