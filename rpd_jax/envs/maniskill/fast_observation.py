"""A nested observation as one flat row, for one environment on the CPU; see `fast`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.utils import common

_slow_flatten = common.flatten_state_dict


def flatten_state_dict(state_dict: dict[str, Any], use_torch: bool = False, device: Any = None) -> Any:
    """`common.flatten_state_dict`: the leaves [1, n] or [1] side by side."""
    if use_torch and (device is None or torch.device(device).type == "cpu"):
        rows: list[np.ndarray] = []
        if _collect(state_dict, rows):
            return torch.from_numpy(np.concatenate(rows, axis=1))
    return _slow_flatten(state_dict, use_torch, device)


def _collect(tree: dict[str, Any], rows: list[np.ndarray]) -> bool:
    """Appends the leaves of a tree; says whether all are a single environment's floats or flags on the CPU."""
    for value in tree.values():
        if isinstance(value, dict):
            if not _collect(value, rows):
                return False
        elif not isinstance(value, torch.Tensor) or value.is_cuda or value.ndim > 2 or value.shape[:1] != (1,):
            return False
        elif value.dtype is torch.float32 or value.dtype is torch.bool:
            rows.append(value.numpy().reshape(1, -1))
        else:
            return False
    return bool(rows)


REPLACED: tuple[tuple[Any, str, Any], ...] = ((common, "flatten_state_dict", flatten_state_dict),)
