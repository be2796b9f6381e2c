"""What papers claim, as functions of a comparison's outcome that say: holds, does not hold, or undecided.

Arms are paired by seed: initial parameters, environments and evaluation episodes of a seed are the same for all arms.
Of each seed the difference of two arms is averaged over cases; the verdict is read off Student's 95 % interval of these
differences over seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rpd_jax.report.intervals import student_t

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

Scores = Mapping[str, Mapping[str, np.ndarray]]
"""Case -> arm -> final success rates [S], one of each seed."""


class Verdict(NamedTuple):
    """What came of a claim."""

    verdict: str  # HOLDS, FAILS or UNDECIDED
    estimate: float  # the mean difference
    low: float  # of its 95 % interval
    high: float


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of a paper and the check of it."""

    text: str
    check: Callable[[Scores], Verdict]
    published: str = ""  # the paper's figure


def difference(scores: Scores, a: str, b: str, cases: Sequence[str] = ()) -> np.ndarray:
    """Success of arm `a` minus that of arm `b`, averaged over cases (empty: all): [S]."""
    return np.mean([scores[case][a] - scores[case][b] for case in cases or list(scores)], axis=0)


def better(a: str, b: str, by: float = 0.0, cases: Sequence[str] = ()) -> Callable[[Scores], Verdict]:
    """`a` ends more than `by` above `b`; it fails where the whole interval is at or below that."""

    def check(scores: Scores) -> Verdict:
        estimate, low, high = _interval(difference(scores, a, b, cases))
        return Verdict(HOLDS if low > by else FAILS if high <= by else UNDECIDED, estimate, low, high)

    return check


def worse(a: str, b: str, cases: Sequence[str] = ()) -> Callable[[Scores], Verdict]:
    """`a` ends below `b`; the verdict's numbers are those of `a` minus `b`."""

    def check(scores: Scores) -> Verdict:
        estimate, low, high = _interval(difference(scores, a, b, cases))
        return Verdict(HOLDS if high < 0 else FAILS if low >= 0 else UNDECIDED, estimate, low, high)

    return check


def close_to(a: str, b: str, within: float, cases: Sequence[str] = ()) -> Callable[[Scores], Verdict]:
    """`a` ends within `within` of `b`: the whole interval of their difference does; it fails where all is outside."""

    def check(scores: Scores) -> Verdict:
        estimate, low, high = _interval(difference(scores, a, b, cases))
        outside = low > within or high < -within
        return Verdict(
            HOLDS if -within <= low and high <= within else FAILS if outside else UNDECIDED, estimate, low, high
        )

    return check


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    low, high = student_t(differences)
    return float(differences.mean()), float(low), float(high)
