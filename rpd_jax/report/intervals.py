"""Intervals of success rates over seeds and episodes, and of other means over seeds."""

from __future__ import annotations

import functools
import math
import statistics
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, betaln, stdtrit

KINDS = ("seeds", "range", "episodes")
"""What a result's ends are: a 95 % interval over seeds and episodes, the range of two seeds, or a 95 % interval over
the episodes of one policy, which leaves other seeds out."""

# Priors of `beta_binomial`: beta distributions, that of the spread on [0, SPREAD_MAX].
MEAN_PRIOR, SPREAD_PRIOR, SPREAD_MAX = (0.5, 0.5), (0.25, 0.3), 0.6
SPREAD_NODES = 32


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


class Band(NamedTuple):
    """Intervals of several success rates, and what they are."""

    low: np.ndarray  # [B]
    high: np.ndarray  # [B]
    kind: str  # of KINDS


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


def success_rates(successes: ArrayLike, episodes: ArrayLike, confidence: float = 0.95) -> Band:
    """Intervals of B success rates, each measured with the same number of seeds S.

    Three seeds or more: `beta_binomial`, which covers. Two seeds cannot tell how much seeds differ: the band is
    their range, no confidence interval. One seed: `wilson` over its episodes, which leaves other seeds out.

    Args:
      successes: [B, S] whole numbers, of
      episodes: [B, S], at least 1.
      confidence: in (0, 1).

    Raises:
      ValueError: for impossible numbers.
    """
    k, n = _counts(successes, episodes)
    if k.shape[1] == 1:
        ends = [wilson(int(a), int(b), confidence) for a, b in zip(k[:, 0], n[:, 0], strict=True)]
        return Band(np.array([end.low for end in ends]), np.array([end.high for end in ends]), "episodes")
    if k.shape[1] == 2:
        _check_confidence(confidence)
        return Band((k / n).min(1), (k / n).max(1), "range")
    return Band(*beta_binomial(k, n, confidence), "seeds")


def beta_binomial(successes: ArrayLike, episodes: ArrayLike, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Credible intervals of the mean success rate over seeds, from a hierarchical model of seeds and episodes.

    Seed s succeeds in k_s of n_s episodes with a rate of its own, and rates follow a beta distribution of mean m
    and intra-class correlation r (their variance is r m (1 - m); r = 0: seeds are alike, r = 1: each always or
    never succeeds):

        p(k_s | m, r) = C(n_s, k_s) B(k_s + a, n_s - k_s + b) / B(a, b),   a = m (1 - r) / r,  b = (1 - m) (1 - r) / r

    With m ~ Beta(1/2, 1/2), Jeffreys's choice, and r / 0.6 ~ Beta(0.25, 0.3), the interval lies between the quantiles
    (1 ∓ confidence) / 2 of m's posterior, with r integrated out; it begins at 0 without any success and ends at 1
    without any failure. The prior of r was chosen by simulation, for coverage from 3 seeds on: docs/intervals.md has
    the table. Sources: the beta-binomial is Skellam's (JRSS B 10, 1948), the rule at the ends that of Brown, Cai and
    DasGupta (Statistical Science 16, 2001).

    Args:
      successes: [B, S] whole numbers, of
      episodes: [B, S], at least 1.
      confidence: in (0, 1).

    Returns:
      low and high, [B].

    Raises:
      ValueError: for impossible numbers.
    """
    _check_confidence(confidence)
    k, n = _counts(successes, episodes)
    # Cells are even in the arcsine of √m, where the posterior is narrowest if seeds are alike: its standard deviation
    # then is √(1 / 4 sum n), about three cells.
    cells = 100 + 10 * math.isqrt(int(n.sum(1).max(initial=0)))
    edges, a, b = _grid(cells)
    pairs, which = np.unique(np.stack([k, n], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    logs = np.stack([_log_likelihood(pair[0], pair[1], a, b) for pair in pairs])
    which = which.reshape(k.shape)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    ends = np.empty((len(k), 2))
    for index, seeds in enumerate(which):
        total = logs[seeds].sum(0)
        density = np.exp(total - total.max()).sum(1)
        below = np.concatenate([[0.0], np.cumsum(density, dtype=np.float64)])
        ends[index] = np.interp(tails, below / below[-1], edges)
    low, high = np.where(k.sum(1) == 0, 0.0, ends[:, 0]), np.where((k == n).all(1), 1.0, ends[:, 1])
    return low, high


def student_t(values: ArrayLike, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of means over seeds, for what is no success rate: mean ± t s / √S, S - 1 degrees of freedom.

    Args:
      values: [S, ...] with S at least 2, one per seed.
      confidence: in (0, 1).

    Returns:
      low and high, [...].

    Raises:
      ValueError: with less than two seeds, or a value that is not finite.
    """
    _check_confidence(confidence)
    values = np.asarray(values, np.float64)
    if values.ndim == 0 or len(values) < 2:
        raise ValueError(f"values of shape {values.shape} cannot work: it must be [S, ...] with S at least 2")
    if not np.isfinite(values).all():
        raise ValueError(f"values={values} cannot work: it must be finite numbers")
    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(0, ddof=1) / math.sqrt(len(values))
    return values.mean(0) - half, values.mean(0) + half


def band(values: ArrayLike, episodes: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What is shaded around means over seeds: of two seeds their range, of more an interval.

    Args:
      values: [S, K] with S at least 2.
      episodes: [S, K] behind values that are success rates, for `success_rates`; None: other quantities, `student_t`.

    Returns:
      low and high, [K].

    Raises:
      ValueError: as those two.
    """
    values = np.asarray(values, np.float64)
    if len(values) == 2:
        return values.min(0), values.max(0)
    if episodes is None:
        return student_t(values)
    counts = np.asarray(episodes)
    return success_rates(np.rint(values * counts).T, counts.T)[:2]


@functools.lru_cache(maxsize=4)
def _grid(cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges of cells that are equally likely for m [cells + 1]; a and b at their centres and at nodes of r [cells, R].

    All nodes have the same weight: they are quantiles of the priors.
    """
    edges = betaincinv(*MEAN_PRIOR, np.linspace(0, 1, cells + 1))
    mean = betaincinv(*MEAN_PRIOR, (np.arange(cells) + 0.5) / cells)[:, None]
    spread = SPREAD_MAX * betaincinv(*SPREAD_PRIOR, (np.arange(SPREAD_NODES) + 0.5) / SPREAD_NODES)
    size = (1 - spread) / spread
    return edges, mean * size, (1 - mean) * size


def _log_likelihood(successes: int, episodes: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of one seed at all nodes, up to a constant; relative to the largest, single precision is exact enough."""
    logs = betaln(successes + a, episodes - successes + b) - betaln(a, b)
    return (logs - logs.max()).astype(np.float32)


def _counts(successes: ArrayLike, episodes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    k, n = np.asarray(successes), np.asarray(episodes)
    if k.ndim != 2 or k.shape != n.shape or k.shape[1] < 1:
        raise ValueError(
            f"successes {k.shape} of episodes {n.shape} cannot work: both must be [B, S] with S at least 1"
        )
    if (k != np.floor(k)).any() or (n != np.floor(n)).any():
        raise ValueError("successes and episodes cannot work: they must be whole numbers")
    if (n < 1).any():
        raise ValueError(f"episodes={n.min()} cannot work: it must be at least 1")
    if (k < 0).any() or (k > n).any():
        raise ValueError(f"successes={k.tolist()} cannot work: it must be from 0 to episodes={n.tolist()}")
    return k, n


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} cannot work: it must be in (0, 1)")
