"""Weights that are not finite are found when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError, with file and name, for a tensor that holds NaN or infinite numbers."""
    for name, tensor in tensors.items():
        # Of the extremes, which NaN passes through: no mask of the tensor's size is made.
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(torch.stack(tensor.aminmax())).all():
            raise ValueError(f"{path}: {name} holds NaN or infinite numbers")
