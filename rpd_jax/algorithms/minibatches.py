"""A member's batch in minibatches, in an order of its own."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp


def shuffle(key: chex.PRNGKey, epochs: int, batch_size: int, minibatches: int) -> chex.Array:
    """Indices [epochs * minibatches, B] into a batch; each epoch leaves another remainder out."""
    size = batch_size // minibatches

    def one_epoch(key: chex.PRNGKey) -> chex.Array:
        return permutation(key, batch_size)[: minibatches * size].reshape(minibatches, size)

    return jax.vmap(one_epoch)(jax.random.split(key, epochs)).reshape(-1, size)


def permutation(key: chex.PRNGKey, size: int) -> chex.Array:
    """The numbers below `size` in random order; four times as quick on a CPU as `jax.random.permutation`.

    Sorting words whose low bits are the numbers themselves needs no second operand. Numbers that draw the same high
    bits keep their order, so that this is done again, with new words, until 32 bits have been drawn for each.
    """
    low = max(size - 1, 1).bit_length()
    numbers, mask = jnp.arange(size, dtype=jnp.uint32), jnp.uint32((1 << low) - 1)
    order = numbers
    for each in jax.random.split(key, -(-32 // (32 - low))):
        order = order[jnp.sort((jax.random.bits(each, (size,), jnp.uint32) & ~mask) | numbers) & mask]
    return order.astype(jnp.int32)
