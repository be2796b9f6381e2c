"""Image augmentation in torch: a random crop and colours, the official recipe's, one draw for each image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from teachers.openvla.finetune.settings import AugmentSettings


class Draws(NamedTuple):
    """What is done to each of B images."""

    corner: Tensor  # [B, 2] top and left edge of the crop, as fractions of the image
    side: float  # of the crop, likewise
    brightness: Tensor  # [B] added to intensities in [0, 1]
    contrast: Tensor  # [B] factors
    saturation: Tensor
    hue: Tensor  # [B] turns


def draw(rng: np.random.Generator, batch: int, settings: AugmentSettings, device: torch.device) -> Draws:
    """Draws augmentations; numbers come from the host, so that they are the same on every device."""
    side = float(np.sqrt(settings.crop_area))
    numbers = {
        "corner": rng.uniform(0.0, 1.0 - side, (batch, 2)),
        "brightness": rng.uniform(-settings.brightness, settings.brightness, batch),
        "contrast": rng.uniform(*settings.contrast, batch),
        "saturation": rng.uniform(*settings.saturation, batch),
        "hue": rng.uniform(-settings.hue, settings.hue, batch),
    }
    drawn = {name: torch.as_tensor(x, dtype=torch.float32, device=device) for name, x in numbers.items()}
    return Draws(side=side, **drawn)


def crop(images: Tensor, corner: Tensor, side: float) -> Tensor:
    """Resizes a square part of images [B, 3, S, S] to S, bilinearly with corners aligned, as `crop_center` does."""
    steps = torch.linspace(0.0, side, images.shape[-1], device=images.device)
    rows, columns = (2 * (corner[:, axis, None] + steps) - 1 for axis in (0, 1))  # grid_sample's -1 to 1
    shape = (len(images), len(steps), len(steps))
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def recolour(images: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Scales the saturation of colours [B, 3, H, W] in [0, 1] and turns their hue, at the same value (HSV)."""
    value, largest = images.max(dim=1)
    chroma = value - images.min(dim=1).values
    following, last = images.roll(-1, dims=1), images.roll(-2, dims=1)
    # From the largest channel the hue is two sixths for each channel before it, and the difference of the other two.
    difference = (following - last).gather(1, largest[:, None])[:, 0] / chroma.clamp(min=1e-12)
    sixths = 2.0 * largest + difference + 6.0 * hue[:, None, None]
    chroma = torch.minimum(chroma * saturation[:, None, None], value)
    channels = [value - chroma * _falling((sixths + offset).remainder(6.0)) for offset in (5.0, 3.0, 1.0)]
    return torch.stack(channels, dim=1)


def _falling(k: Tensor) -> Tensor:
    """The share of the chroma that a channel lacks, at k sixths: rises from 0 to 1, stays, falls again."""
    return torch.minimum(k, 4.0 - k).clamp(0.0, 1.0)


def augment(frames: Tensor, draws: Draws) -> Tensor:
    """Crop, brightness, contrast, saturation and hue, in this order: uint8 [B, S, S, 3] -> uint8 [B, S, S, 3]."""
    images = crop(frames.permute(0, 3, 1, 2).float() / 255.0, draws.corner, draws.side)
    images = (images + draws.brightness[:, None, None, None]).clamp(0.0, 1.0)
    mean = images.mean(dim=(2, 3), keepdim=True)
    images = (mean + (images - mean) * draws.contrast[:, None, None, None]).clamp(0.0, 1.0)
    images = recolour(images, draws.saturation, draws.hue)
    return (images * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)
