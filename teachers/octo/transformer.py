"""Octo's block transformer: pre-norm blocks as in ViT."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from rpd_jax.types import Array


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """The constants of the transformer; names as in official configs."""

    num_layers: int
    mlp_dim: int
    num_attention_heads: int
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0


class MlpBlock(nn.Module):
    """Dense, GELU (tanh approximation), Dense."""

    config: TransformerConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, deterministic: bool) -> Array:
        weight, bias = nn.initializers.xavier_uniform(), nn.initializers.normal(1e-6)
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=weight, bias_init=bias)
        wide = nn.gelu(dense(self.config.mlp_dim)(x), approximate=True)
        wide = nn.Dropout(self.config.dropout_rate)(wide, deterministic)
        narrow = dense(x.shape[-1])(wide)
        return nn.Dropout(self.config.dropout_rate)(narrow, deterministic)


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); sequences [B, N, D], mask [B, 1, N, M].

    `prefix` [B, M - N, D] are tokens before x that x may look at, and `newest` keeps the last so many of x alone.
    """

    config: TransformerConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, mask: Array, deterministic: bool, prefix: Array | None = None, newest: int | None = None
    ) -> Array:
        attention = nn.MultiHeadDotProductAttention(
            self.config.num_attention_heads,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
            dropout_rate=self.config.attention_dropout_rate,
            deterministic=deterministic,
            force_fp32_for_softmax=True,
            name="MultiHeadDotProductAttention_0",
        )
        norm = nn.LayerNorm(1e-6, self.dtype)
        seen = norm(x) if prefix is None else norm(jnp.concatenate([prefix, x], axis=1))
        asking = seen[:, -(newest or x.shape[1]) :]
        y = attention(asking, seen, mask=mask[:, :, -asking.shape[1] :])
        x = x[:, -asking.shape[1] :] + nn.Dropout(self.config.dropout_rate)(y, deterministic)
        return x + MlpBlock(self.config, self.dtype)(nn.LayerNorm(1e-6, self.dtype)(x), deterministic)


class Transformer(nn.Module):
    """The blocks and the final norm: [B, N, D] -> [B, N, D].

    With `prefix` [1, M - N, D], tokens that look at themselves alone and that all of a batch share, these are computed
    once: `mask` is then [B, 1, N, M], and `prefix_mask` [1, 1, M - N, M - N]. With `newest` only the last so many
    tokens come out, and the last block computes no others.
    """

    config: TransformerConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        deterministic: bool = True,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
        newest: int | None = None,
    ) -> Array:
        for index in range(self.config.num_layers):
            block = EncoderBlock(self.config, self.dtype, name=f"encoderblock_{index}")
            is_last = index == self.config.num_layers - 1
            before = None if prefix is None else jnp.broadcast_to(prefix, (x.shape[0], *prefix.shape[1:]))
            x = block(x, mask, deterministic, before, newest if is_last else None)
            if prefix is not None and not is_last:
                assert prefix_mask is not None, "a prefix has a mask of its own"
                prefix = block(prefix, prefix_mask, deterministic)
        return nn.LayerNorm(1e-6, self.dtype, name="encoder_norm")(x)


class BlockTransformer(nn.Module):
    """The level of names between Octo and its transformer in official parameter trees."""

    config: TransformerConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array, deterministic: bool = True, **shortcuts: Any) -> Array:
        return Transformer(self.config, self.dtype, name="Transformer_0")(x, mask, deterministic, **shortcuts)
