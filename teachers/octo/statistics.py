"""Statistics of a data set's actions: choosing them, and normalising actions with them.

A dimension whose mask is False (the gripper's, as a rule) is passed through. `kind` is "normal" (mean and standard
deviation) or "bounds" (the 1st and 99th percentile become -1 and 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from rpd_jax.config.validation import choice
from rpd_jax.types import ActionStatistics, Array

NEEDS: Mapping[str, tuple[str, str]] = {"normal": ("mean", "std"), "bounds": ("p01", "p99")}
"""Kind of normalisation -> the statistics it needs."""
_EPSILON = 1e-8


def select_statistics(statistics: Mapping[str, Any], key: str | None = None) -> dict[str, np.ndarray]:
    """The statistics of the actions of one data set.

    Args:
      statistics: as in a checkpoint: {data set: {"action": {...}, ...}} or, if fine-tuned, {"action": {...}, ...}.
      key: name of the data set; None where there is only one, without a name.
    Returns:
      "mean", "std" and what else there is ("min", "max", "p01", "p99"), each [A] float32, and "mask" [A] bool, all True
      in older files, which have none.
    Raises:
      ValueError: the key is unknown, is needed and not given, or is given where there are no names; or the
        statistics are incomplete.
    """
    if "action" in statistics:
        if key is None:
            return _complete(statistics["action"])
        raise ValueError(f"statistics_key={key!r} cannot be chosen: these statistics are of one data set; leave it out")
    if key is None:
        raise ValueError(f"statistics_key is missing: name the data set, one of {sorted(statistics)}")
    choice("statistics_key", key, sorted(statistics))
    return _complete(statistics[key]["action"])


def to_action_statistics(stats: Mapping[str, Any], kind: str = "normal") -> ActionStatistics:
    """As an action contract carries them. Raises ValueError if the kind is unknown or lacks its statistics."""
    first, second, mask = _needed(stats, kind)
    return ActionStatistics(kind, tuple(first.tolist()), tuple(second.tolist()), tuple(mask.tolist()))


def normalize(action: Array, stats: Mapping[str, Any], kind: str = "normal") -> Array:
    """What a model is trained to predict.

    Args:
      action: [..., A] in the data set's units.
      stats: from `select_statistics`.
      kind: "normal": (a - mean) / (std + 1e-8); "bounds": 2 (a - p01) / (p99 - p01 + 1e-8) - 1, clipped to [-1, 1].
    Returns:
      [..., A]
    Raises:
      ValueError: the kind is unknown or lacks its statistics, or A differs.
    """
    needed = _needed(stats, kind)
    action, dims = jnp.asarray(action), len(needed[2])
    if action.shape[-1:] != (dims,):
        raise ValueError(f"action of shape {action.shape} does not fit: the statistics have {dims} dimensions")
    first, second, mask = (jnp.broadcast_to(each, action.shape) for each in needed)
    if kind == "normal":
        changed = (action - first) / (second + _EPSILON)
    else:
        changed = jnp.clip(2.0 * (action - first) / (second - first + _EPSILON) - 1.0, -1.0, 1.0)
    return jnp.where(mask, changed, action)


def unnormalize(action: Array, stats: Mapping[str, Any], kind: str = "normal") -> Array:
    """A model's prediction in the data set's units.

    Args:
      action: [..., D] with D >= A: a model may predict more dimensions than the data set has.
      stats: from `select_statistics`.
      kind: "normal": a std + mean; "bounds": (a + 1) / 2 (p99 - p01) + p01.
    Returns:
      [..., A]: the first A dimensions.
    Raises:
      ValueError: the kind is unknown or lacks its statistics, or D < A.
    """
    needed = _needed(stats, kind)
    action, dims = jnp.asarray(action), len(needed[2])
    if action.shape[-1] < dims:
        raise ValueError(f"action of shape {action.shape} does not fit: the statistics have {dims} dimensions")
    action = action[..., :dims]
    first, second, mask = (jnp.broadcast_to(each, action.shape) for each in needed)
    changed = action * second + first if kind == "normal" else (action + 1.0) * (second - first) / 2.0 + first
    return jnp.where(mask, changed, action)


def _complete(stats: Mapping[str, Any]) -> dict[str, np.ndarray]:
    for name in NEEDS["normal"]:
        if name not in stats:
            raise ValueError(f"the statistics have no {name!r} of the actions: they have {sorted(stats)}")
    found = {name: np.asarray(value, np.float32) for name, value in stats.items() if name != "mask"}
    dimensions = found["mean"].shape
    found["mask"] = np.asarray(stats.get("mask", np.ones(dimensions)), bool)
    for name, value in found.items():
        if value.ndim != 1 or value.shape != dimensions:
            raise ValueError(f"statistics {name!r} have shape {value.shape}: all must be [A], like mean {dimensions}")
    return found


def _needed(stats: Mapping[str, Any], kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if kind not in NEEDS:
        raise ValueError(f"normalisation {kind!r} is unknown: choose from {sorted(NEEDS)}")
    missing = [name for name in NEEDS[kind] if name not in stats]
    if missing:
        raise ValueError(f"normalisation {kind!r} needs {missing}, which these statistics lack: use another kind")
    first, second = (np.asarray(stats[name], np.float32) for name in NEEDS[kind])
    return first, second, np.asarray(stats.get("mask", np.ones(first.shape)), bool)
