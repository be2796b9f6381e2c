"""Statistics of a set's actions and proprioception, in the layout of Octo's `dataset_statistics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

STATISTICS_FILE = "dataset_statistics.json"


def array_statistics(values: np.ndarray, mask: Sequence[bool] | None = None) -> dict[str, Any]:
    """Per dimension of values [N, D]: mean, std (of the population), min, max, p01 and p99 (also as q01 and q99), mask.

    Quantiles are interpolated linearly. `mask` says which dimensions a policy is to normalise; None: all of them.
    Raises ValueError without rows, or for a mask of another length.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"values of shape {values.shape} have no statistics: they must be [N, D] with N at least 1")
    if mask is None:
        mask = [True] * values.shape[1]
    if len(mask) != values.shape[1]:
        raise ValueError(f"mask={list(mask)!r} cannot work: it must have {values.shape[1]} entries")
    low, high = np.quantile(values, (0.01, 0.99), axis=0)
    found = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "p01": low,
        "p99": high,
        "q01": low,
        "q99": high,
    }
    return {name: x.tolist() for name, x in found.items()} | {"mask": [bool(m) for m in mask]}


def action_statistics(
    actions: Sequence[np.ndarray], mask: Sequence[bool], proprio: Sequence[np.ndarray] | None = None
) -> dict[str, Any]:
    """Statistics of whole episodes.

    Args:
      actions: [T, A] of each episode.
      mask: [A]; False where actions are left as they are (the gripper).
      proprio: [T, D] of each episode, of the observations that were acted in.

    Returns:
      {"action": ..., "proprio": ..., "num_transitions", "num_trajectories"}, see `array_statistics`.
    """
    if len(actions) == 0:
        raise ValueError("actions: statistics need at least one episode")
    for what, values in {"actions": actions, "proprio": proprio or ()}.items():
        if len(sizes := sorted({x.shape[1] for x in values})) > 1:
            raise ValueError(f"{what} of {sizes} dimensions have no statistics: all episodes must have the same")
    found: dict[str, Any] = {"action": array_statistics(np.concatenate(actions), mask)}
    if proprio is not None:
        found["proprio"] = array_statistics(np.concatenate(proprio))
    counts = {"num_transitions": sum(len(x) for x in actions), "num_trajectories": len(actions)}
    return found | counts


def action_mask(control_mode: str, action_dim: int) -> list[bool]:
    """False for the gripper, the last number of every control mode of an arm that has one; True for the others."""
    with_gripper = (8, 15) if control_mode.startswith("pd_joint") else (7,) if control_mode.endswith("pose") else (4,)
    return [True] * (action_dim - 1) + [action_dim not in with_gripper]
