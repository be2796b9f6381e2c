"""NatureCNN for students that see frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.policies.mlp import gaussian_head, mlp
from rpd_jax.policies.tokens import Tokens
from rpd_jax.types import Observation


class NatureActorCritic(nn.Module):
    """NatureCNN shared by actor and critic (methods of RPD, arXiv 2503.05833), with an optional proprioceptive input.

    Convolutions 32/8s4, 64/4s2, 64/3s1 and a layer of 256 with torch's default initialisation; actor
    256-512-A and critic 256-512-1, orthogonal.
    """

    action_dim: int
    cameras: Sequence[str]
    with_proprio: bool

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Gaussian, chex.Array]:
        z = encoded(self, observation, self.cameras, self.with_proprio)
        mean = mlp(z, (512,), self.action_dim, nn.relu, 0.01 * math.sqrt(2), "actor")
        value = mlp(z, (512,), 1, nn.relu, math.sqrt(2), "critic")
        return gaussian_head(self, mean), value[:, 0]


class NatureTokens(nn.Module):
    """The same actor with a distribution over `bins` tokens for each action dimension, and no critic.

    `low` and `high` [A] are the ends of the range that the bins divide.
    """

    low: Sequence[float]
    high: Sequence[float]
    bins: int
    cameras: Sequence[str]
    with_proprio: bool

    @nn.compact
    def __call__(self, observation: Observation) -> tuple[Tokens, None]:
        z = encoded(self, observation, self.cameras, self.with_proprio)
        logits = mlp(z, (512,), len(self.low) * self.bins, nn.relu, 0.01 * math.sqrt(2), "actor")
        return Tokens.of(logits.reshape(-1, len(self.low), self.bins), self.low, self.high), None


def encoded(module: nn.Module, observation: Observation, cameras: Sequence[str], with_proprio: bool) -> chex.Array:
    """What actor and critic read, [B, 256] or [B, 512]; the channels of several cameras are stacked."""
    x = jnp.concatenate([observation[camera] for camera in cameras], axis=-1)
    chex.assert_rank(x, 4)
    x = x.astype(jnp.float32) / 255.0
    for i, (features, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
        x = _conv(module, x, features, kernel, stride, f"conv_{i}")
        x = nn.relu(x)
    seen = [nn.relu(_torch_dense(x.reshape(x.shape[0], -1), 256, "encoder"))]
    if with_proprio:
        seen.append(nn.relu(_torch_dense(observation["proprio"], 256, "proprio")))
    return jnp.concatenate(seen, axis=-1)


def _conv(module: nn.Module, x: chex.Array, features: int, size: int, stride: int, name: str) -> chex.Array:
    """An unpadded convolution with torch's default initialisation, [B, H, W, C] -> [B, H', W', features]."""
    channels = x.shape[-1]
    init = _torch_uniform(size * size * channels)
    kernel = module.param(f"{name}_kernel", init, (size, size, channels, features))
    bias = module.param(f"{name}_bias", init, (features,))
    convolve = convolve_by_matmul if jax.default_backend() == "cpu" else convolve_natively
    return convolve(x, kernel, stride) + bias.reshape(1, 1, 1, -1)


def convolve_natively(x: chex.Array, kernel: chex.Array, stride: int) -> chex.Array:
    """XLA's convolution without padding."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def convolve_by_matmul(x: chex.Array, kernel: chex.Array, stride: int) -> chex.Array:
    """The same as slices and one matrix product: XLA's CPU backend is some 40 times slower at strided gradients.

    Where the stride divides the kernel, blocks of stride x stride pixels become channels first, so that only
    (size / stride)^2 slices are left.
    """
    size, _, channels, features = kernel.shape
    if stride > 1 and size % stride == 0:
        batch, height, width, _ = x.shape
        rows, columns, taps = height // stride, width // stride, size // stride
        x = x[:, : rows * stride, : columns * stride].reshape(batch, rows, stride, columns, stride, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, stride * stride * channels)
        kernel = kernel.reshape(taps, stride, taps, stride, channels, features).transpose(0, 2, 1, 3, 4, 5)
        return convolve_by_matmul(x, kernel.reshape(taps, taps, stride * stride * channels, features), 1)
    out_rows, out_columns = (x.shape[1] - size) // stride + 1, (x.shape[2] - size) // stride + 1
    patches = [
        x[:, i : i + stride * (out_rows - 1) + 1 : stride, j : j + stride * (out_columns - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, features)


def _torch_uniform(fan_in: int) -> Callable[..., chex.Array]:
    """torch's default for weights and biases: uniform in +-1 / sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: chex.PRNGKey, shape: Sequence[int], dtype: Any = jnp.float32) -> chex.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _torch_dense(x: chex.Array, width: int, name: str) -> chex.Array:
    init = _torch_uniform(x.shape[-1])
    return nn.Dense(width, kernel_init=init, bias_init=init, name=name)(x)
