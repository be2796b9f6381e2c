"""The score network of the diffusion head."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.octo.config import HeadConfig

XAVIER = nn.initializers.xavier_uniform()


class FourierFeatures(nn.Module):
    """Learned Fourier features of the diffusion step: [..., 1] -> [..., size]."""

    size: int

    @nn.compact
    def __call__(self, time: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.normal(0.2), (self.size // 2, 1))
        angle = 2.0 * jnp.pi * jnp.asarray(time, jnp.float32) @ kernel.T
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class TimeEncoder(nn.Module):
    size: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.swish(nn.Dense(2 * self.size, kernel_init=XAVIER)(x))
        return nn.Dense(self.size, kernel_init=XAVIER)(x)


class MLPResNetBlock(nn.Module):
    config: HeadConfig

    @nn.compact
    def __call__(self, x: Array, deterministic: bool) -> Array:
        residual = x
        if self.config.dropout_rate > 0.0:
            x = nn.Dropout(self.config.dropout_rate)(x, deterministic)
        if self.config.use_layer_norm:
            x = nn.LayerNorm(1e-6)(x)
        x = nn.swish(nn.Dense(4 * self.config.hidden_dim)(x))
        return residual + nn.Dense(self.config.hidden_dim)(x)


class MLPResNet(nn.Module):
    config: HeadConfig

    @nn.compact
    def __call__(self, x: Array, deterministic: bool) -> Array:
        size = self.config.action_horizon * self.config.action_dim
        x = nn.Dense(self.config.hidden_dim, kernel_init=XAVIER)(x)
        for _ in range(self.config.num_blocks):
            x = MLPResNetBlock(self.config)(x, deterministic)
        return nn.Dense(size, kernel_init=XAVIER)(nn.swish(x))


class ScoreNetwork(nn.Module):
    """Predicts the noise in a chunk: embedding [..., D], chunk [..., F], step [..., 1] -> [..., F]; float32.

    The embedding is broadcast over leading axes that only chunk and step have.
    """

    config: HeadConfig

    def setup(self) -> None:
        self.time_preprocess = FourierFeatures(self.config.time_dim)
        self.cond_encoder = TimeEncoder(self.config.time_dim)
        self.reverse_network = MLPResNet(self.config)

    def __call__(self, embedding: Array, chunk: Array, time: Array, deterministic: bool = True) -> Array:
        condition = self.cond_encoder(self.time_preprocess(time))
        embedding = jnp.broadcast_to(embedding, (*chunk.shape[:-1], embedding.shape[-1]))
        return self.reverse_network(jnp.concatenate([condition, embedding, chunk], axis=-1), deterministic)
