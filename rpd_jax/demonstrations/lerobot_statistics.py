"""Statistics of an episode's columns as LeRobot's data sets hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def numeric_statistics(values: np.ndarray) -> dict[str, list[float]]:
    """Statistics of values [T] or [T, D], per dimension, as LeRobot names them."""
    return _statistics(np.asarray(values, np.float64).reshape(len(values), -1), len(values))


def image_statistics(frames: np.ndarray) -> dict[str, Any]:
    """Statistics of frames uint8 [T, H, W, 3] per channel, of values in [0, 1], each [3, 1, 1].

    Every fourth frame and every fourth pixel of a row and a column are looked at.
    """
    pixels = frames[::4, ::4, ::4].reshape(-1, 3) / 255.0
    found = _statistics(pixels, len(frames[::4]))
    return {key: x if key == "count" else np.reshape(x, (3, 1, 1)).tolist() for key, x in found.items()}


def pooled(statistics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Statistics of all from those of each part; quantiles are means weighted by count, as LeRobot's are."""
    count = np.array([of["count"][0] for of in statistics], np.float64)
    stacked = {key: np.stack([np.asarray(of[key]) for of in statistics]) for key in statistics[0] if key != "count"}

    def mean(x: np.ndarray) -> np.ndarray:
        return np.average(x, axis=0, weights=count)

    centre = mean(stacked["mean"])
    variance = mean(stacked["std"] ** 2 + (stacked["mean"] - centre[None]) ** 2)
    found = {"min": stacked["min"].min(axis=0), "max": stacked["max"].max(axis=0)}
    found |= {"mean": centre, "std": np.sqrt(variance)} | {name: mean(stacked[name]) for name in QUANTILES}
    return {key: x.tolist() for key, x in found.items()} | {"count": [int(count.sum())]}


def _statistics(values: np.ndarray, count: int) -> dict[str, list[Any]]:
    found = {"min": values.min(axis=0), "max": values.max(axis=0), "mean": values.mean(axis=0)}
    found |= {"std": values.std(axis=0)}
    found |= dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis=0), strict=True))
    return {key: x.tolist() for key, x in found.items()} | {"count": [count]}
