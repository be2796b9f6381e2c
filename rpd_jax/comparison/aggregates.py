"""Figures over all cases of a comparison: interquartile means, probabilities of improvement, performance profiles.

As proposed by Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (NeurIPS 2021);
intervals are percentiles of a bootstrap stratified by case. With few seeds these are narrower than they should be
(docs/intervals.md): claims are judged by `claims.py` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import trim_mean

REPETITIONS = 2000


class Estimate(NamedTuple):
    """A figure with the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: np.ndarray) -> Estimate:
    """The mean of the middle half of all scores [C, S] of C cases and S seeds."""
    return _bootstrap(lambda each: float(trim_mean(each, 0.25, axis=None)), scores)


def probability_of_improvement(a: np.ndarray, b: np.ndarray) -> Estimate:
    """How likely a run of one arm is better than one of the other in a case drawn at random; ties count half.

    Args:
      a, b: scores [C, S].
    """

    def probability(a: np.ndarray, b: np.ndarray) -> float:
        x, y = a[:, :, None], b[:, None, :]
        return float(np.mean((x > y) + 0.5 * (x == y)))

    return _bootstrap(probability, a, b)


def performance_profile(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The share of all runs [C, S] whose score is above each of the levels [L]."""
    return np.mean(scores.reshape(-1, 1) > levels, axis=0)


def _bootstrap(figure: Callable[..., float], *samples: np.ndarray) -> Estimate:
    """`figure` of arrays [C, S], and of resamples of the seeds of every case."""
    rng = np.random.default_rng(0)

    def resampled(scores: np.ndarray) -> np.ndarray:
        drawn = rng.integers(scores.shape[1], size=scores.shape)
        return np.take_along_axis(scores, drawn, axis=1)

    values = [figure(*map(resampled, samples)) for _ in range(REPETITIONS)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(figure(*samples), float(low), float(high))
