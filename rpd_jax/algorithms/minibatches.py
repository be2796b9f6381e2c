"""Each member's batch in minibatches, in an order of its own."""

from __future__ import annotations

from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")


def shuffles(keys: chex.PRNGKey, epochs: int, batch_size: int, minibatches: int) -> chex.Array:
    """Indices [epochs * minibatches, P, B] into each member's batch; each epoch leaves another remainder out."""
    size = batch_size // minibatches

    def one_epoch(key: chex.PRNGKey) -> chex.Array:
        return jax.random.permutation(key, batch_size)[: minibatches * size].reshape(minibatches, size)

    split = jax.vmap(lambda key: jax.random.split(key, epochs))(keys)
    found = jax.vmap(jax.vmap(one_epoch))(split)  # [P, epochs, minibatches, B]
    # a scan runs over the first axis
    return jnp.moveaxis(found.reshape(len(keys), -1, size), 0, 1)


def rows(batch: Tree, indices: chex.Array) -> Tree:
    """Each member's minibatch [P, B, ...] of its batch, by indices [P, B]."""
    return jax.vmap(lambda leaves, i: jax.tree.map(lambda x: x[i], leaves))(batch, indices)
