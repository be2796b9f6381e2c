from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.utils import common

_slow_flatten = common.flatten_state_dict


def flatten_state_dict(state_dict: dict[str, Any], use_torch: bool = False, device: Any = None) -> Any:
    """`common.flatten_state_dict`."""
    if use_torch and (device is None or torch.device(device).type == "cpu"):
        leaves: list[np.ndarray] = []
        if _collect(state_dict, leaves):
            return torch.from_numpy(np.concatenate(leaves, axis=1))
    return _slow_flatten(state_dict, use_torch, device)


def _collect(tree: dict[str, Any], leaves: list[np.ndarray]) -> bool:
    """Appends the leaves as rows [1, n]; says whether each is of one environment on the CPU."""
    for value in tree.values():
        if isinstance(value, dict):
            if not _collect(value, leaves):
                return False
        elif not isinstance(value, torch.Tensor) or value.is_cuda or value.shape[:1] != (1,) or value.ndim > 2:
            return False
        elif value.dtype is torch.float32 or value.dtype is torch.bool:
            leaves.append(value.numpy().reshape(1, -1))
        else:
            return False
    return bool(leaves)
REPLACED: tuple[tuple[Any, str, Any], ...] = ((common, "flatten_state_dict", flatten_state_dict),)
