"""Which setting of an arm is taken, and whether a curve is still rising: pure functions of success rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TIE = 0.02
RULE = (
    "the highest mean success over the tuning's seeds at its last evaluation; among those within "
    f"{TIE:.2f} of it the one with the largest mean success over the whole curve; then the first"
)
RISE = 0.05
"""A curve rises if the mean of its last quarter is so much above the mean of the quarter before."""


def select(curves: Sequence[np.ndarray]) -> int:
    """The index of the setting that `RULE` takes.

    Args:
      curves: of each setting the success rates [S, K] of S seeds at K evaluations; the last are those it ended with.
    """
    final = np.array([curve[:, -1].mean() for curve in curves])
    overall = np.array([curve.mean() for curve in curves])
    near = final >= final.max() - TIE
    return int(np.argmax(np.where(near, overall, -np.inf)))


def ended_alike(finals: Sequence[Sequence[float]]) -> bool:
    """Whether settings, two or more, ended within a tie: then which one is taken says nothing.

    Args:
      finals: of each setting the final success rates of its seeds.
    """
    means = [float(np.mean(each)) for each in finals]
    return len(means) > 1 and max(means) - min(means) <= TIE


def not_begun(finals: Sequence[float]) -> bool:
    """Whether an arm hardly succeeds at the end: its curve is flat for want of steps, or of any way to the goal.

    Args:
      finals: final success rates of its seeds.
    """
    return float(np.mean(finals)) <= RISE


def remarks(finals: Sequence[float], rising: bool, tuned: Sequence[Sequence[float]]) -> list[str]:
    """What a reader must know of an arm before its figures are believed.

    Args:
      finals: final success rates of its seeds.
      rising: whether its curve still rose when training ended.
      tuned: of each setting in tuning the final success rates.
    """
    said = {
        "hardly ever succeeds, which more steps may change": not_begun(finals),
        "still rising": rising and not not_begun(finals),
        "settings ended alike in tuning": ended_alike(tuned),
    }
    return [remark for remark, holds in said.items() if holds]


def is_rising(curve: np.ndarray) -> bool:
    """Whether success rates [S, K] were still rising when training ended; False with fewer than four evaluations."""
    mean = curve.mean(axis=0)
    quarter = max(1, len(mean) // 4)
    if len(mean) < 4:
        return False
    return bool(mean[-quarter:].mean() - mean[-2 * quarter : -quarter].mean() > RISE)


def first_reaching(steps: np.ndarray, curve: np.ndarray, level: float) -> float | None:
    """Where the mean curve first reaches `level`, between evaluations by interpolation; None: nowhere.

    Args:
      steps: [K], or teacher queries.
      curve: [S, K].
    """
    mean = curve.mean(axis=0)
    reached = np.flatnonzero(mean >= level)
    if len(reached) == 0:
        return None
    k = int(reached[0])
    if k == 0:
        return float(steps[0])
    share = (level - mean[k - 1]) / (mean[k] - mean[k - 1])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))
