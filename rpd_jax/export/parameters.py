"""What an export says of a student's parameters: which of them acting needs, and how observations are normalised."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from rpd_jax.policies import normalization
from rpd_jax.policies.normalization import CLIP, Normalizer

UNUSED = ("critic", "log_std")
"""How the names of parameters begin that acting by the mean does not need."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How one entry of the observation is normalised: (x - mean) / std, limited to +-clip."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    clip: float


def scales(normalizer: Normalizer) -> dict[str, Scale]:
    """What `normalization.normalize` does with these moments, as numbers by entry; others are used as they are."""
    found = {}
    for name, moments in normalizer.items():
        # at the mean nothing is clipped, and the slope is 1 / std
        slope = jax.grad(lambda x, name=name: normalization.normalize(normalizer, {name: x})[name].sum())(moments.mean)
        mean, std = np.asarray(moments.mean, float), 1.0 / np.asarray(slope, float)
        found[name] = Scale(tuple(mean.tolist()), tuple(std.tolist()), CLIP)
    return found


def channels_first(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel [H * W * C, F] behind square features [H, W, C], for features that are flattened as [C, H, W]."""
    side = round((len(kernel) // channels) ** 0.5)
    return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
