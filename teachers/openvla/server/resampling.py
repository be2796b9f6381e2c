"""Resampling of images as PIL and TensorFlow do it, on any device, as products with banded matrices.

PIL works in fixed point: weights of 22 bits, and eight bits again between its two passes. Both are exact in float64, so
that the result is PIL's, bit by bit, on a GPU too. The rows come first, as in the versions of Pillow that checkpoints
were made with; from 13.0 on it begins with the columns of images that are much taller than wide.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_PIL_BITS = 22
JPEG_QUALITY = 95
"""TensorFlow's default, with colours at half the resolution."""


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5, as PIL's BICUBIC; zero beyond 2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def lanczos3(x: np.ndarray) -> np.ndarray:
    """sinc(x) sinc(x / 3), zero beyond 3."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bicubic": (cubic, 2.0),
    "lanczos3": (lanczos3, 3.0),
}


@functools.lru_cache(maxsize=64)
def weights(kernel: str, before: int, after: int) -> np.ndarray:
    """[after, before] float64: weights of each input pixel, widened by the scale when shrinking (antialiasing)."""
    function, support = _KERNELS[kernel]
    scale = before / after
    width = max(scale, 1.0)
    centers = (np.arange(after) + 0.5) * scale
    first = np.maximum((centers - support * width + 0.5).astype(int), 0)
    last = np.minimum((centers + support * width + 0.5).astype(int), before)
    at = np.arange(before)
    values = function((at[None] + 0.5 - centers[:, None]) / width)
    values = np.where((at[None] >= first[:, None]) & (at[None] < last[:, None]), values, 0.0)
    return values / values.sum(1, keepdims=True)


def _fixed(matrix: np.ndarray) -> np.ndarray:
    """Weights as PIL's integers: rounded away from zero at halves."""
    return np.trunc(matrix * 2**_PIL_BITS + np.copysign(0.5, matrix))


def _pass(images: Tensor, kernel: str, after: int) -> Tensor:
    """One pass of PIL along the rows: [B, H, W, 3] float64 of whole numbers -> [B, H, after, 3] likewise."""
    before = images.shape[2]
    if before == after:
        return images
    matrix = torch.as_tensor(_fixed(weights(kernel, before, after)), device=images.device)
    sums = torch.einsum("aw,bhwc->bhac", matrix, images)
    return torch.floor((sums + 2 ** (_PIL_BITS - 1)) / 2**_PIL_BITS).clamp(0, 255)


def resize_pil(images: Tensor, size: int) -> Tensor:
    """PIL's `resize((size, size), BICUBIC)`, whatever the aspect ratio: uint8 [B, H, W, 3] -> [B, size, size, 3]."""
    if images.shape[1:3] == (size, size):
        return images
    across = _pass(images.double(), "bicubic", size)
    return _pass(across.transpose(1, 2), "bicubic", size).transpose(1, 2).to(torch.uint8)


def resize_lanczos(images: Tensor, size: int) -> Tensor:
    """TensorFlow's `resize(method="lanczos3", antialias=True)`, rounded: uint8 [B, H, W, 3] -> [B, size, size, 3]."""
    rows, columns = (
        torch.as_tensor(weights("lanczos3", length, size), dtype=torch.float32, device=images.device)
        for length in images.shape[1:3]
    )
    done = torch.einsum("ah,bhwc,vw->bavc", rows, images.float(), columns)
    return done.round().clamp(0, 255).to(torch.uint8)


def crop_center(images: Tensor, size: int, area: float = 0.9) -> Tensor:
    """The centre with `area` of the image, resampled as TensorFlow's `crop_and_resize`: bilinear, corners aligned.

    Args:
      images: [B, H, W, 3] uint8, of any size.
    Returns:
      [B, size, size, 3] uint8
    """
    side = np.sqrt(np.float32(area))  # in float32 throughout, as the reference: coordinates decide about rounding
    start = (1 - side) / 2
    values = images.float() / 255
    for axis in (2, 1):
        length = images.shape[axis]
        step = (start + side - start) * np.float32(length - 1) / np.float32(size - 1)
        at = start * np.float32(length - 1) + np.arange(size, dtype=np.float32) * step
        below = np.floor(at).astype(np.int64)
        above = np.minimum(np.ceil(at).astype(np.int64), length - 1)
        shape = [1] * 4
        shape[axis] = size
        share = torch.as_tensor(at - below, dtype=torch.float32, device=images.device).reshape(shape)
        low, high = (values.index_select(axis, torch.as_tensor(each, device=images.device)) for each in (below, above))
        values = low + (high - low) * share
    return (values.clamp(0, 1) * 255.5).floor().clamp(max=255).to(torch.uint8)


def jpeg_round_trip(image: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8, encoded and decoded."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return np.asarray(Image.open(buffer).convert("RGB"))
