"""How far a teacher's network is from reference arrays: what checks of golden data are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from rpd_jax.types import Array


class Difference(NamedTuple):
    """One array against its reference."""

    stage: str  # which part of the network
    where: str  # case and name of the array
    error: float  # the largest; infinite if the shapes differ or there is nothing to compare, NaN if there are NaNs
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance  # False for NaN


def difference(
    stage: str, where: str, got: Array | None, want: Array, tolerance: float, rows: Array | None = None
) -> Difference:
    """The largest absolute error.

    Args:
      stage, where: see `Difference`.
      got: None where the network has no such array.
      want: of the same shape; any kind of number, booleans count as 0 and 1.
      tolerance: of the error.
      rows: bool, the leading axes of `want`: which entries count. None: all.
    """
    if got is None:
        return Difference(stage, f"{where} (not there)", math.inf, tolerance)
    got, want = (np.asarray(each).astype(np.float64) for each in (got, want))
    if got.shape != want.shape:
        return Difference(stage, f"{where} {got.shape} instead of {want.shape}", math.inf, tolerance)
    error = np.abs(got - want)
    if rows is not None:
        error = error[np.asarray(rows, bool)]
    return Difference(stage, where, float(error.max(initial=0.0)), tolerance)


def relative_difference(
    stage: str, where: str, got: Array, want: Array, tolerance: float, smallest: float = 0.0
) -> Difference:
    """The error of one quantity in the Euclidean norm, as a share of the reference's norm, or of `smallest` if more."""
    got, want = (np.asarray(each).astype(np.float64) for each in (got, want))
    if got.shape != want.shape:
        return Difference(stage, f"{where} {got.shape} instead of {want.shape}", math.inf, tolerance)
    error, size = float(np.linalg.norm(got - want)), max(float(np.linalg.norm(want)), smallest)
    return Difference(stage, where, error / size if size else error, tolerance)


def worst_by_stage(differences: Iterable[Difference]) -> list[Difference]:
    """The worst difference of every stage, in the order in which stages come up: the largest error per tolerance."""

    def badness(each: Difference) -> tuple[bool, float]:
        return not each.ok, math.inf if math.isnan(each.error) else each.error / (each.tolerance or 1.0)

    worst: dict[str, Difference] = {}
    for each in differences:
        if each.stage not in worst or badness(each) > badness(worst[each.stage]):
            worst[each.stage] = each
    return list(worst.values())
