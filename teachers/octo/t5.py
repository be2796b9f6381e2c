"""The encoder of T5 v1.0 in linen, with the parameter names of Hugging Face's Flax checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.types import Array


@dataclasses.dataclass(frozen=True)
class T5Config:
    """The constants of an encoder; field names are those of Hugging Face's `config.json`."""

    d_model: int
    num_layers: int
    num_heads: int
    d_kv: int
    d_ff: int
    vocab_size: int = 32128
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> T5Config:
        """From a Hugging Face config; entries that the encoder does not use are ignored.

        Raises ValueError for a missing constant, and for a variant of T5 other than v1.0.
        """
        feed_forward = values.get("feed_forward_proj", "relu")
        if feed_forward != "relu":
            raise ValueError(f"t5 feed_forward_proj={feed_forward!r} cannot work: this is T5 v1.0, which has 'relu'")
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names[:5] if name not in values]
        if missing:
            raise ValueError(f"the T5 config lacks {', '.join(missing)}")
        return cls(**{name: values[name] for name in names if name in values})

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> T5Config:
        """Read off the shapes of a parameter tree (what a checkpoint holds under `hf_model`)."""
        attention = params["encoder"]["block"]["0"]["layer"]["0"]["SelfAttention"]
        vocab_size, d_model = params["shared"]["embedding"].shape
        buckets, num_heads = attention["relative_attention_bias"]["embedding"].shape
        return cls(
            d_model=d_model,
            num_layers=len(params["encoder"]["block"]),
            num_heads=num_heads,
            d_kv=attention["q"]["kernel"].shape[1] // num_heads,
            d_ff=params["encoder"]["block"]["0"]["layer"]["1"]["DenseReluDense"]["wi"]["kernel"].shape[1],
            vocab_size=vocab_size,
            relative_attention_num_buckets=buckets,
        )


NAMED: Mapping[str, T5Config] = {
    "t5-nano": T5Config(d_model=64, num_layers=2, num_heads=4, d_kv=16, d_ff=128, vocab_size=128),
    "t5-small": T5Config(d_model=512, num_layers=6, num_heads=8, d_kv=64, d_ff=2048),
    "t5-base": T5Config(d_model=768, num_layers=12, num_heads=12, d_kv=64, d_ff=3072),
    "t5-large": T5Config(d_model=1024, num_layers=24, num_heads=16, d_kv=64, d_ff=4096),
}
"""The published encoders, and octo-nano's own, which is trained with it."""


def relative_buckets(length: int, num_buckets: int, max_distance: int) -> np.ndarray:
    """Which row of the bias table belongs to each pair of positions, int32 [query, key].

    Half of the buckets are for keys after the query. Of either half, the first half is one bucket a distance, the
    rest grows logarithmically up to `max_distance`.
    """
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    half = num_buckets // 2
    exact = half // 2
    size = np.abs(distance)
    growth = np.log(np.maximum(size, 1) / exact) / math.log(max_distance / exact)
    far = np.minimum(exact + (growth * (half - exact)).astype(np.int32), half - 1)
    return (np.where(distance > 0, half, 0) + np.where(size < exact, size, far)).astype(np.int32)


class RMSNorm(nn.Module):
    """Divides by the root mean square; the parameter is called `weight`."""

    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight = self.param("weight", nn.initializers.ones, (x.shape[-1],))
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon)
        return (x * jnp.broadcast_to(weight, x.shape)).astype(self.dtype)


class SelfAttention(nn.Module):
    """Attention without scaling and without biases; `bias` [1, heads, L, L] or [B, ...] is added to the logits."""

    config: T5Config
    dtype: Any = jnp.float32
    has_relative_bias: bool = False

    def setup(self) -> None:
        c = self.config
        inner = c.num_heads * c.d_kv

        def dense(features: int, std: float) -> nn.Dense:
            return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.normal(std))

        self.q = dense(inner, (c.d_model * c.d_kv) ** -0.5)
        self.k = dense(inner, c.d_model**-0.5)
        self.v = dense(inner, c.d_model**-0.5)
        self.o = dense(c.d_model, inner**-0.5)
        if self.has_relative_bias:
            table = nn.initializers.normal(c.d_model**-0.5)
            self.relative_attention_bias = nn.Embed(c.relative_attention_num_buckets, c.num_heads, embedding_init=table)

    def position_bias(self, length: int) -> Array:
        """float32 [1, heads, L, L], which every block of the encoder adds."""
        c = self.config
        buckets = relative_buckets(length, c.relative_attention_num_buckets, c.relative_attention_max_distance)
        return self.relative_attention_bias(buckets).transpose(2, 0, 1)[None]

    def __call__(self, x: Array, bias: Array) -> Array:
        heads = (*x.shape[:-1], self.config.num_heads, self.config.d_kv)
        query, key, value = (layer(x).reshape(heads) for layer in (self.q, self.k, self.v))
        logits = jnp.einsum("blhd,bmhd->bhlm", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits + jnp.broadcast_to(bias, logits.shape)).astype(self.dtype)
        return self.o(jnp.einsum("bhlm,bmhd->blhd", weights, value).reshape(*x.shape[:-1], -1))


class FeedForward(nn.Module):
    config: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = self.config
        wide = nn.Dense(c.d_ff, False, self.dtype, kernel_init=nn.initializers.normal(c.d_model**-0.5), name="wi")(x)
        narrow = nn.Dense(c.d_model, False, self.dtype, kernel_init=nn.initializers.normal(c.d_ff**-0.5), name="wo")
        return narrow(nn.relu(wide))


class Layer(nn.Module):
    """Norm, then one of the two kinds of layer, then the residual sum."""

    config: T5Config
    dtype: Any = jnp.float32
    kind: str = "SelfAttention"  # or DenseReluDense
    has_relative_bias: bool = False

    def setup(self) -> None:
        self.layer_norm = RMSNorm(self.config.layer_norm_epsilon, self.dtype)
        if self.kind == "SelfAttention":
            self.SelfAttention = SelfAttention(self.config, self.dtype, self.has_relative_bias)
        else:
            self.DenseReluDense = FeedForward(self.config, self.dtype)

    def position_bias(self, length: int) -> Array:
        return self.SelfAttention.position_bias(length)

    def __call__(self, x: Array, *bias: Array) -> Array:
        return x + getattr(self, self.kind)(self.layer_norm(x), *bias)


class LayerPair(nn.Module):
    """Attention and feed-forward, called 0 and 1 as in the checkpoints."""

    config: T5Config
    dtype: Any = jnp.float32
    has_relative_bias: bool = False

    @nn.compact
    def __call__(self, x: Array, bias: Array | None, key_bias: Array) -> tuple[Array, Array]:
        attention = Layer(self.config, self.dtype, "SelfAttention", self.has_relative_bias, name="0")
        if bias is None:
            position = attention.position_bias(x.shape[1])
            shape = (x.shape[0], *position.shape[1:])
            bias = jnp.broadcast_to(position, shape) + jnp.broadcast_to(key_bias, shape)
        x = attention(x, bias)
        return Layer(self.config, self.dtype, "DenseReluDense", name="1")(x), bias


class Block(nn.Module):
    config: T5Config
    dtype: Any = jnp.float32
    has_relative_bias: bool = False

    @nn.compact
    def __call__(self, x: Array, bias: Array | None, key_bias: Array) -> tuple[Array, Array]:
        return LayerPair(self.config, self.dtype, self.has_relative_bias, name="layer")(x, bias, key_bias)


class Blocks(nn.Module):
    config: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, key_bias: Array) -> Array:
        bias = None
        for index in range(self.config.num_layers):
            x, bias = Block(self.config, self.dtype, index == 0, name=str(index))(x, bias, key_bias)
        return x


class Encoder(nn.Module):
    config: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, key_bias: Array) -> Array:
        x = Blocks(self.config, self.dtype, name="block")(x, key_bias)
        return RMSNorm(self.config.layer_norm_epsilon, self.dtype, name="final_layer_norm")(x)


class T5Encoder(nn.Module):
    """Token ids and their mask [B, L] -> hidden states [B, L, d_model]; there is no dropout."""

    config: T5Config
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, input_ids: Array, attention_mask: Array) -> Array:
        c = self.config
        embed = nn.Embed(c.vocab_size, c.d_model, embedding_init=nn.initializers.normal(1.0), name="shared")
        lowest = float(jnp.finfo(jnp.float32).min)
        key_bias = jnp.where(jnp.asarray(attention_mask)[:, None, None, :] != 0, 0.0, lowest)
        return Encoder(c, self.dtype, name="encoder")(embed(jnp.asarray(input_ids)).astype(self.dtype), key_bias)
