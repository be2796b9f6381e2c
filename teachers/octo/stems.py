"""Octo's image stems: a few standardised convolutions that turn an image into a grid of tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.policies.nature_cnn import convolve_by_matmul, convolve_natively
from rpd_jax.types import Array

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORM_TYPES = ("default", "imagenet")


@dataclasses.dataclass(frozen=True)
class StemConfig:
    """The constants of a stem; `name` is the official class, SmallStem16 or SmallStem."""

    name: str = "SmallStem16"
    patch_size: int = 16
    kernel_sizes: tuple[int, ...] = (3, 3, 3, 3)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    features: tuple[int, ...] = (32, 96, 192, 384)
    padding: tuple[int, ...] = (1, 1, 1, 1)
    num_features: int = 512
    img_norm_type: str = "default"
    # Convolutions as matrix products on the CPU: in a loop XLA takes many times longer for gradients of others there.
    by_matmul: bool = False


def normalize_images(images: Array, kind: str) -> Array:
    """Pixels [..., C] in 0..255 as float32: to [-1, 1] ("default"), or by ImageNet's moments, channels in threes."""
    x = jnp.asarray(images).astype(jnp.float32)
    if kind == "default":
        return x / 127.5 - 1.0
    if kind == "imagenet":
        tiles = x.shape[-1] // 3
        mean, std = (jnp.broadcast_to(jnp.tile(jnp.array(m), tiles), x.shape) for m in (IMAGENET_MEAN, IMAGENET_STD))
        return (x / 255.0 - mean) / std
    raise ValueError(f"img_norm_type={kind!r} is unknown: choose from {NORM_TYPES}")


def standardize(kernel: Array) -> Array:
    """Weight standardisation of a kernel [kh, kw, in, out]: per output channel to mean 0 and population std 1.

    1e-5 is added to the std, not to the variance.
    """
    centred = kernel - jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)
    return centred / (jnp.std(kernel, axis=(0, 1, 2), keepdims=True) + 1e-5)


class StdConv(nn.Module):
    """A convolution whose kernel is standardised at every call; the raw kernel is the parameter."""

    features: int
    kernel_size: int
    stride: int
    padding: int
    dtype: Any = jnp.float32
    by_matmul: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        p = self.padding
        x = jnp.pad(jnp.asarray(x, self.dtype), ((0, 0), (p, p), (p, p), (0, 0)))
        by_matmul = self.by_matmul and jax.default_backend() == "cpu"
        convolve = convolve_by_matmul if by_matmul else convolve_natively
        y = convolve(x, jnp.asarray(standardize(kernel), self.dtype), self.stride)
        return y + jnp.broadcast_to(bias.astype(self.dtype), y.shape)


class Stem(nn.Module):
    """Images [B, H, W, C] of 0..255 -> [B, H / patch, W / patch, num_features]."""

    config: StemConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        c = self.config
        x = normalize_images(images, c.img_norm_type).astype(self.dtype)
        layers = zip(c.features, c.kernel_sizes, c.strides, c.padding, strict=True)
        for index, (features, kernel_size, stride, padding) in enumerate(layers):
            sizes = features, kernel_size, stride, padding
            x = StdConv(*sizes, self.dtype, c.by_matmul, name=f"StdConv_{index}")(x)
            x = nn.GroupNorm(32, epsilon=1e-6, dtype=self.dtype, name=f"GroupNorm_{index}")(x)
            x = nn.relu(x)
        patch = c.patch_size // int(np.prod(c.strides))
        conv = nn.Conv(c.num_features, (patch, patch), patch, padding="VALID", dtype=self.dtype, name="embedding")
        return conv(x)
