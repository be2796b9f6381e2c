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
class Check:
    """Holds two arms against each other; the verdict's numbers are those of the first minus the second.

    Attributes:
      arms: the two.
      cases: in which of the experiment's cases; empty: in all.
      holds, fails: whether the claim does, given the interval's bounds; where neither, it is undecided.
    """

    arms: tuple[str, str]
    cases: tuple[str, ...]
    holds: Callable[[float, float], bool]
    fails: Callable[[float, float], bool]

    def __call__(self, scores: Scores) -> Verdict:
        found = difference(scores, *self.arms, self.cases)
        low, high = map(float, student_t(found))
        verdict = HOLDS if self.holds(low, high) else FAILS if self.fails(low, high) else UNDECIDED
        return Verdict(verdict, float(found.mean()), low, high)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of a paper and the check of it."""

    text: str
    check: Check
    published: str = ""  # the paper's figure


def better(a: str, b: str, by: float = 0.0, cases: Sequence[str] = ()) -> Check:
    """`a` ends more than `by` above `b`; it fails where the whole interval is at or below that."""
    return Check((a, b), tuple(cases), holds=lambda low, high: low > by, fails=lambda low, high: high <= by)


def worse(a: str, b: str, cases: Sequence[str] = ()) -> Check:
    """`a` ends below `b`; it fails where the whole interval is at or above zero."""
    return Check((a, b), tuple(cases), holds=lambda low, high: high < 0, fails=lambda low, high: low >= 0)


def close_to(a: str, b: str, within: float, cases: Sequence[str] = ()) -> Check:
    """`a` ends within `within` of `b`: the whole interval of their difference does; it fails where all is outside."""
    return Check(
        (a, b),
        tuple(cases),
        holds=lambda low, high: -within <= low and high <= within,
        fails=lambda low, high: low > within or high < -within,
    )


def difference(scores: Scores, a: str, b: str, cases: Sequence[str] = ()) -> np.ndarray:
    """Success of arm `a` minus that of arm `b`, averaged over cases (empty: all): [S]."""
    return np.mean([scores[case][a] - scores[case][b] for case in cases or list(scores)], axis=0)
