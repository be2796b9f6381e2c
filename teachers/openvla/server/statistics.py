"""Statistics of the data sets a checkpoint was trained on: choosing them, undoing the normalisation of actions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.config.validation import choice
from teachers.openvla.server.config import read_json

STATISTICS_FILE = "dataset_statistics.json"
BOUNDS = {"quantiles": ("q01", "q99"), "range": ("min", "max")}
"""Kind of normalisation -> the statistics that became -1 and 1."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """An affine map of [-1, 1] to [low, high] per dimension; where `mask` is False values are passed through."""

    low: np.ndarray  # [A] float64
    high: np.ndarray  # [A] float64
    mask: np.ndarray  # [A] bool
    epsilon: float = 0.0  # added to the width: OpenVLA-OFT does so

    @classmethod
    def of(cls, statistics: Mapping[str, Any], kind: str = "quantiles", epsilon: float = 0.0) -> Bounds:
        """From the "action" or "proprio" entry of a data set.

        Raises ValueError if it lacks what `kind` needs, or that is not finite.
        """
        names = BOUNDS[kind]
        missing = [name for name in names if name not in statistics]
        if missing:
            raise ValueError(
                f"the statistics have no {missing}, which normalisation by {kind} needs: {sorted(statistics)}"
            )
        low, high = (np.asarray(statistics[name], np.float64) for name in names)
        for name, values in zip(names, (low, high), strict=True):
            if not np.isfinite(values).all():
                raise ValueError(f"the statistics' {name} holds NaN or infinite numbers: {values}")
        mask = np.asarray(statistics.get("mask", np.ones(low.shape)), bool)
        if not low.shape == high.shape == mask.shape or low.ndim != 1:
            raise ValueError(
                f"{names[0]}, {names[1]} and mask differ in shape: {low.shape}, {high.shape}, {mask.shape}"
            )
        return cls(low, high, mask, epsilon)

    @property
    def dims(self) -> int:
        return len(self.low)

    @property
    def half_width(self) -> np.ndarray:
        """[A]: what one normalised unit is; 1 where values are passed through."""
        return np.where(self.mask, 0.5 * (self.high - self.low + self.epsilon), 1.0)

    def unnormalize(self, values: np.ndarray) -> np.ndarray:
        """[..., A] normalised -> [..., A] in the data set's units, float64."""
        values = np.asarray(values, np.float64)
        return np.where(self.mask, 0.5 * (values + 1) * (self.high - self.low + self.epsilon) + self.low, values)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """[..., A] in the data set's units -> [..., A] clipped to [-1, 1], those passed through too."""
        values = np.asarray(values, np.float64)
        scaled = 2 * (values - self.low) / (self.high - self.low + 1e-8) - 1
        return np.clip(np.where(self.mask, scaled, values), -1, 1)


def read_statistics(directory: Path, norm_stats: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the checkpoint's own file, and those of its configuration that the file does not have.

    Fine-tunes keep the base model's statistics in config.json; theirs are in dataset_statistics.json.
    Raises ValueError, with file and name, for statistics of actions that are not finite.
    """
    path = directory / STATISTICS_FILE
    own = read_json(path) if path.is_file() else {}
    for where, statistics in ((path, own), (directory / "config.json", norm_stats)):
        _check_actions(where, statistics)
    return own, {name: value for name, value in norm_stats.items() if name not in own}


def _check_actions(path: Path, statistics: Mapping[str, Any]) -> None:
    try:
        arrays = {
            f"{key}/action/{name}": np.asarray(values, np.float64)
            for key, each in statistics.items()
            for name, values in each.get("action", {}).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no statistics ({error})") from None
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{path}: {name} holds NaN or infinite numbers")


def select_statistics(own: Mapping[str, Any], base: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    """The statistics of one data set: {"action": {...}, "proprio": {...}, ...}.

    Args:
      own, base: from `read_statistics`.
      key: name of the data set; None where there is only one.
    Raises:
      ValueError: the key is unknown, or needed and not given. The names are listed.
    """
    first = own or base
    if key is None:
        more = f", or of the base model {sorted(base)}" if own and base else ""
        if len(first) != 1:
            raise ValueError(f"statistics_key is missing: name the data set, one of {sorted(first)}{more}")
        key = next(iter(first))
    choice("statistics_key", key, [*sorted(own), *sorted(base)])
    return dict((own if key in own else base)[key])
