"""Verdicts on claims, and figures over all cases: against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rpd_jax.comparison.aggregates import interquartile_mean, performance_profile, probability_of_improvement
from rpd_jax.comparison.claims import FAILS, HOLDS, UNDECIDED, better, close_to, difference, worse


def scores(a: list[float], b: list[float]) -> dict[str, dict[str, np.ndarray]]:
    return {"case": {"a": np.array(a), "b": np.array(b)}}


def test_arms_are_paired_by_seed() -> None:
    """Differences .1, .2, .3: mean .2, standard error .1 / sqrt(3), t of two degrees of freedom 4.3027."""
    found = scores([0.2, 0.5, 0.9], [0.1, 0.3, 0.6])
    verdict = better("a", "b")(found)
    half = 4.302653 * 0.1 / 3**0.5
    assert verdict.estimate == pytest.approx(0.2)
    assert (verdict.low, verdict.high) == (pytest.approx(0.2 - half, abs=1e-5), pytest.approx(0.2 + half, abs=1e-5))
    assert verdict.verdict == UNDECIDED  # the interval begins at -.048


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([0.8, 0.82, 0.81], [0.2, 0.21, 0.2], HOLDS),
        ([0.2, 0.21, 0.2], [0.8, 0.82, 0.81], FAILS),
        ([0.2, 0.9, 0.5], [0.5, 0.4, 0.6], UNDECIDED),
    ],
)
def test_better(a: list[float], b: list[float], verdict: str) -> None:
    assert better("a", "b")(scores(a, b)).verdict == verdict
    assert worse("b", "a")(scores(a, b)).verdict == verdict


def test_better_by_a_margin() -> None:
    found = scores([0.80, 0.82, 0.81], [0.7, 0.71, 0.7])
    assert better("a", "b")(found).verdict == HOLDS
    assert better("a", "b", by=0.2)(found).verdict == FAILS


def test_close_to_needs_the_whole_interval_within() -> None:
    assert close_to("a", "b", 0.1)(scores([0.8, 0.8, 0.81], [0.8, 0.79, 0.8])).verdict == HOLDS
    assert close_to("a", "b", 0.1)(scores([0.8, 0.8, 0.81], [0.2, 0.2, 0.2])).verdict == FAILS
    assert close_to("a", "b", 0.1)(scores([0.9, 0.5, 0.7], [0.7, 0.7, 0.7])).verdict == UNDECIDED


def test_cases_are_averaged_before_seeds_are_compared() -> None:
    found = scores([1.0, 0.0], [0.0, 0.0]) | {"other": {"a": np.array([0.0, 1.0]), "b": np.array([0.0, 0.0])}}
    np.testing.assert_allclose(difference(found, "a", "b"), [0.5, 0.5])
    np.testing.assert_allclose(difference(found, "a", "b", ["other"]), [0.0, 1.0])


def test_the_interquartile_mean_leaves_a_quarter_out_at_both_ends() -> None:
    estimate = interquartile_mean(np.array([[0.0, 0.2, 0.4, 1.0]]))
    assert estimate.value == pytest.approx(0.3)
    assert 0.0 <= estimate.low <= 0.3 <= estimate.high <= 1.0


def test_the_probability_of_improvement_counts_pairs() -> None:
    """Of the nine pairs 5 are better and 1 is a tie: 5.5 / 9; in the second case all nine are ties."""
    a, b = np.array([[0.3, 0.5, 0.9]]), np.array([[0.1, 0.5, 0.6]])
    assert probability_of_improvement(a, b).value == pytest.approx(5.5 / 9)
    same = np.array([[0.5, 0.5, 0.5]])
    both = probability_of_improvement(np.concatenate([a, same]), np.concatenate([b, same]))
    assert both.value == pytest.approx((5.5 / 9 + 0.5) / 2)


def test_a_profile_is_the_share_of_runs_above_each_level() -> None:
    found = performance_profile(np.array([[0.1, 0.5], [0.7, 0.9]]), np.array([0.0, 0.5, 0.8, 1.0]))
    np.testing.assert_allclose(found, [1.0, 0.5, 0.25, 0.0])
