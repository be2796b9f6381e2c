"""Confidence intervals of success rates and of means over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a success rate.

    With z the normal quantile and p = k / n: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    It stays within [0, 1] and is honest at 0 and n successes. Source: Wilson, JASA 22 (1927).

    Args:
      successes: k, of
      trials: n, at least 1.
      confidence: in (0, 1).

    Raises:
      ValueError: for impossible numbers.
    """
    _check_confidence(confidence)
    if trials < 1:
        raise ValueError(f"trials={trials} cannot work: it must be at least 1")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes={successes} cannot work: it must be in [0, {trials}]")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    rate, shrink = successes / trials, 1 + z * z / trials
    middle = (rate + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / shrink
    low = 0.0 if successes == 0 else max(0.0, middle - half)  # exact where rounding would not be
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return Interval(low, high)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    rng: np.random.Generator | int,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Percentile bootstrap interval of the mean over seeds.

    One value says nothing about the spread between seeds: the interval then is that value alone. With fewer
    than about five seeds the interval is too narrow; say how many there were beside it.

    Args:
      values: [S], one number per seed.
      rng: draws the resamples; a number seeds a generator of its own.
      confidence: in (0, 1).
      resamples: how many means to draw.

    Raises:
      ValueError: without values, or with one that is not finite.
    """
    _check_confidence(confidence)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"values of shape {values.shape} cannot work: it must be [S] with S at least 1")
    if not np.isfinite(values).all():
        raise ValueError(f"values={values} cannot work: it must be finite numbers")
    generator = np.random.default_rng(rng)
    means = values[generator.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} cannot work: it must be in (0, 1)")
