"""Fully connected layers: flax's Dense with orthogonal weights, made for a CPU too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

TOLERANCE = 1e-5  # of an orthogonal matrix's products with itself


class Dense(nn.Module):
    """x [B, D] -> [B, features], with orthogonal weights times `scale` and biases that begin at zero."""

    features: int
    scale: float = math.sqrt(2)

    @nn.compact
    def __call__(self, x: chex.Array) -> chex.Array:
        kernel = self.param("kernel", orthogonal(self.scale), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = product(x, kernel)
        return y + jnp.broadcast_to(bias, y.shape)


@jax.custom_vjp
def product(x: chex.Array, kernel: chex.Array) -> chex.Array:
    """x [B, D] @ kernel [D, F]; the kernel's gradient is computed as the CPU computes it fastest."""
    return x @ kernel


def _forward(x: chex.Array, kernel: chex.Array) -> tuple[chex.Array, tuple[chex.Array, chex.Array]]:
    return x @ kernel, (x, kernel)


def _backward(kept: tuple[chex.Array, chex.Array], g: chex.Array) -> tuple[chex.Array, chex.Array]:
    x, kernel = kept

    def transposed_first(x: chex.Array, g: chex.Array) -> chex.Array:
        """XLA's fast matrix products for CPUs contract the last axis with the first; the barrier keeps it so."""
        if g.shape[1] == 1:  # it is slow there with vectors, but in this order
            return (g[:, 0] @ x)[:, None]
        return jax.lax.optimization_barrier(x.T) @ g

    return g @ kernel.T, jax.lax.platform_dependent(x, g, cpu=transposed_first, default=lambda x, g: x.T @ g)


product.defvjp(_forward, _backward)


def orthogonal(scale: float) -> Callable[..., chex.Array]:
    """Initialiser: `scale` times a matrix [D, F] whose rows or columns, the fewer, are orthonormal; drawn uniformly.

    The polar factor of a Gaussian matrix is distributed as the Q of its QR decomposition is, and takes matrix products
    only (Newton and Schulz's iteration): XLA's batched LAPACK calls, all at once, wait for ever on few cores.
    """

    def init(key: chex.PRNGKey, shape: Sequence[int], dtype: jnp.dtype = jnp.float32) -> chex.Array:
        rows, columns = shape
        tall = jax.random.normal(key, (max(shape), min(shape)), jnp.float32)

        def far(x: chex.Array) -> chex.Array:
            return jnp.max(jnp.abs(_dot(x.T, x) - jnp.eye(min(shape)))) > TOLERANCE

        def iterate(x: chex.Array) -> chex.Array:
            return 1.5 * x - 0.5 * _dot(x, _dot(x.T, x))

        q = jax.lax.while_loop(far, iterate, tall / jnp.linalg.norm(tall))
        return (scale * (q if rows >= columns else q.T)).astype(dtype)

    return init


def _dot(a: chex.Array, b: chex.Array) -> chex.Array:
    return jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)
