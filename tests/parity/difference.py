"""Reference arrays, and how far a teacher's network is from them: what checks of golden data are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an npz file, by name."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


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


def summary(differences: Iterable[Difference]) -> str:
    """A line for the worst of every stage and for whatever else is beyond its tolerance, and the count of both."""
    found = list(differences)
    failed = [each for each in found if not each.ok]
    worst = worst_by_stage(found)
    lines = [
        f"{'ok' if each.ok else 'FAILED':8}{each.stage:16}{each.error:10.2e} of {each.tolerance:7.1e}  {each.where}"
        for each in [*worst, *(each for each in failed if each not in worst)]
    ]
    return "\n".join([*lines, f"{len(found)} arrays compared, {len(failed)} beyond tolerance"])


def assert_all_fit(differences: Iterable[Difference], stages: set[str] | None = None) -> None:
    """Prints the `summary` and fails beyond tolerances, without arrays, or if `stages` are given and are not those."""
    found = list(differences)
    print(f"\n{summary(found)}")
    assert found and all(each.ok for each in found), "arrays beyond tolerance, or none"
    assert stages is None or {each.stage for each in found} == stages
