"""Action heads: from a readout's embedding to action chunks.

A head is a linen module with the methods
  `loss(embedding, action, mask, **draws)`: scalar, from embeddings [B, W, D], actions [B, W, H, A] and bool masks of
     the same shape;
  `draws(key, batch, window)`: the random numbers of one loss, given as keywords so that the loss itself is
     deterministic;
and a function in `HEADS` that samples chunks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.octo.config import HeadConfig
from teachers.octo.diffusion import cosine_schedule, draw_noise, masked_loss, noised, reverse
from teachers.octo.score import ScoreNetwork


class DiffusionActionHead(nn.Module):
    """Octo's own head."""

    config: HeadConfig

    def setup(self) -> None:
        self.diffusion_model = ScoreNetwork(self.config)

    def __call__(self, embedding: Array) -> Array:
        chunk = jnp.zeros((*embedding.shape[:-1], self.config.action_horizon * self.config.action_dim))
        return self.eps(embedding, chunk, jnp.zeros((*embedding.shape[:-1], 1), jnp.int32))

    def eps(self, embedding: Array, chunk: Array, time: Array, deterministic: bool = True) -> Array:
        """See `ScoreNetwork`."""
        return self.diffusion_model(embedding, chunk, time, deterministic)

    def loss(
        self, embedding: Array, action: Array, mask: Array, time: Array, noise: Array, deterministic: bool = True
    ) -> Array:
        """Masked error of the predicted noise; time int32 [n, B, W, 1], noise [n, B, W, H * A]."""
        c = self.config
        _check(c, embedding, action, mask)
        flat = jnp.clip(action.reshape(*action.shape[:2], -1), -c.max_action, c.max_action)[None]
        mask = jnp.broadcast_to(mask.reshape(*mask.shape[:2], -1)[None], noise.shape)
        chunk = noised(flat, time[..., 0][..., None], noise, cosine_schedule(c.diffusion_steps))
        error = jnp.square(self.eps(embedding[None], chunk, time, deterministic) - noise)
        return masked_loss(error, mask, c.action_dim)

    @staticmethod
    def draws(config: HeadConfig, key: Array, batch: int, window: int) -> dict[str, Array]:
        time_key, noise_key = jax.random.split(key)
        shape = (config.n_diffusion_samples, batch, window)
        size = config.action_horizon * config.action_dim
        return {
            "time": jax.random.randint(time_key, (*shape, 1), 0, config.diffusion_steps),
            "noise": jax.random.normal(noise_key, (*shape, size)),
        }


class ContinuousActionHead(nn.Module):
    """Regresses the chunk itself, squashed to [-max_action, max_action]; loss_type "mse" or "l1"."""

    config: HeadConfig

    def setup(self) -> None:
        self.mean_proj = nn.Dense(self.config.action_horizon * self.config.action_dim)

    def __call__(self, embedding: Array) -> Array:
        """Chunks [..., H, A]."""
        c = self.config
        squashed = jnp.tanh(self.mean_proj(embedding) / c.max_action) * c.max_action
        return squashed.reshape(*embedding.shape[:-1], c.action_horizon, c.action_dim)

    def loss(self, embedding: Array, action: Array, mask: Array, deterministic: bool = True) -> Array:
        """Masked squared or absolute error."""
        del deterministic
        c = self.config
        _check(c, embedding, action, mask)
        difference = self(embedding) - jnp.clip(action, -c.max_action, c.max_action)
        error = jnp.abs(difference) if c.loss_type == "l1" else jnp.square(difference)
        return masked_loss(error, mask, c.action_dim)

    @staticmethod
    def draws(config: HeadConfig, key: Array, batch: int, window: int) -> dict[str, Array]:
        return {}


class DiscreteActionHead(nn.Module):
    """A categorical distribution over `vocab_size` bins for every entry of the chunk.

    Bins are of equal width in [-max_action, max_action] ("uniform") or of equal probability under a standard normal
    distribution ("normal"). The layout of its one layer is this package's own: no official weights exist for it.
    """

    config: HeadConfig

    def setup(self) -> None:
        c = self.config
        self.vocab_proj = nn.Dense(c.action_horizon * c.action_dim * c.vocab_size)

    def __call__(self, embedding: Array) -> Array:
        """Logits [..., H, A, vocab_size]."""
        c = self.config
        return self.vocab_proj(embedding).reshape(*embedding.shape[:-1], c.action_horizon, c.action_dim, c.vocab_size)

    def loss(self, embedding: Array, action: Array, mask: Array, deterministic: bool = True) -> Array:
        """Masked cross-entropy."""
        del deterministic
        _check(self.config, embedding, action, mask)
        logits = jax.nn.log_softmax(self(embedding))
        token = jnp.searchsorted(bin_edges(self.config)[1:-1], action, side="right")
        error = -jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0]
        return masked_loss(error, mask, self.config.action_dim)

    @staticmethod
    def draws(config: HeadConfig, key: Array, batch: int, window: int) -> dict[str, Array]:
        return {}


def bin_edges(config: HeadConfig) -> Array:
    """Edges of the discrete head's bins, [vocab_size + 1], ascending."""
    if config.normalization_type == "uniform":
        return jnp.linspace(-config.max_action, config.max_action, config.vocab_size + 1)
    if config.normalization_type == "normal":
        inner = jax.scipy.stats.norm.ppf(jnp.linspace(0.0, 1.0, config.vocab_size + 1)[1:-1])
        ends = jnp.array([config.max_action])
        return jnp.concatenate([-ends, inner, ends])
    raise ValueError(f"normalization_type={config.normalization_type!r} is unknown: choose from ('normal', 'uniform')")


class Head(NamedTuple):
    """What a kind of head is made of."""

    module: Callable[[HeadConfig], Any]
    sample: Callable[[HeadConfig, Callable[..., Array], Array, Array, int, int | None], Array]
    is_stochastic: bool = True  # whether samples differ


def _sample_diffusion(
    config: HeadConfig, call: Callable[..., Array], embedding: Array, key: Array, count: int, used_dims: int | None
) -> Array:
    horizon, dims = config.action_horizon, config.action_dim
    shape = (count, *embedding.shape[:-1], horizon * dims)
    used = None
    if used_dims is not None and used_dims < dims:
        used = jnp.tile(jnp.arange(dims) < used_dims, horizon)
    chunk = reverse(
        lambda x, t: call("eps", embedding[None], x, t),
        draw_noise(key, config.diffusion_steps, shape),
        cosine_schedule(config.diffusion_steps),
        config.max_action,
        used if used is None else jnp.broadcast_to(used, shape),
    )
    return chunk.reshape(*shape[:-1], horizon, dims)


def _sample_continuous(
    config: HeadConfig, call: Callable[..., Array], embedding: Array, key: Array, count: int, used_dims: int | None
) -> Array:
    del key, used_dims
    chunk = call("__call__", embedding)
    return jnp.broadcast_to(chunk[None], (count, *chunk.shape))


def _sample_discrete(
    config: HeadConfig, call: Callable[..., Array], embedding: Array, key: Array, count: int, used_dims: int | None
) -> Array:
    del used_dims
    logits = call("__call__", embedding)
    token = jax.random.categorical(key, logits, shape=(count, *logits.shape[:-1]))
    edges = bin_edges(config)
    return ((edges[1:] + edges[:-1]) / 2.0)[token]


def _l1(config: HeadConfig) -> ContinuousActionHead:
    return ContinuousActionHead(_with_loss(config, "l1"))


def _mse(config: HeadConfig) -> ContinuousActionHead:
    return ContinuousActionHead(_with_loss(config, "mse"))


def _with_loss(config: HeadConfig, loss_type: str) -> HeadConfig:
    return dataclasses.replace(config, loss_type=loss_type)


HEADS: Mapping[str, Head] = {
    "ContinuousActionHead": Head(ContinuousActionHead, _sample_continuous, is_stochastic=False),
    "DiffusionActionHead": Head(DiffusionActionHead, _sample_diffusion),
    "DiscreteActionHead": Head(DiscreteActionHead, _sample_discrete),
    "L1ActionHead": Head(_l1, _sample_continuous, is_stochastic=False),
    "MSEActionHead": Head(_mse, _sample_continuous, is_stochastic=False),
}
"""Official class -> its module and how it samples.

A sampler takes (config, call(method, *arguments), embedding [..., D], key, count, action dimensions in use) and gives
chunks [count, ..., H, A] in normalised units.
"""


def make_head(config: HeadConfig) -> Any:
    """The linen module of a head."""
    return HEADS[config.kind].module(config)


def _check(config: HeadConfig, embedding: Array, action: Array, mask: Array) -> None:
    shape = (*embedding.shape[:2], config.action_horizon, config.action_dim)
    if action.shape != shape or mask.shape != shape:
        raise ValueError(f"action {action.shape} and mask {mask.shape} must have the shape {shape} = [B, W, H, A]")
    chex.assert_type(mask, bool)
