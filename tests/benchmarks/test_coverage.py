"""Intervals of success rates cover the truth, and the percentile bootstrap did not: a small part of the benchmark."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.coverage import HIGH, LOW, draw_rates, simulate

REPEATS = 1500
# Where the true coverage is at an edge of 93 to 97 %, chance passes it by this much once in 1000 times.
SLACK = 3.1 * math.sqrt(LOW * (1 - LOW) / REPEATS)


@pytest.mark.parametrize(
    ("seeds", "mean", "spread", "episodes"),
    [
        (3, 0.02, "beta 0.1", 32),
        (3, 0.1, "beta 0.1", 64),
        (3, 0.5, "beta 0.1", 32),
        (5, 0.9, "logit-normal 1", 32),
        (5, 0.98, "beta 0.3", 32),
        (10, 0.5, "beta 0.01", 32),
        (10, 0.98, "beta 0.1", 32),
    ],
)
def test_coverage_is_93_to_97_percent_where_the_bootstraps_is_not(
    seeds: int, mean: float, spread: str, episodes: int
) -> None:
    found = simulate(seeds, mean, spread, episodes, REPEATS, np.random.default_rng(0))
    assert LOW - SLACK <= found.new <= HIGH + SLACK
    assert found.bootstrap < LOW - SLACK


def test_two_seeds_have_a_range_that_covers_in_half_of_the_cases() -> None:
    found = simulate(2, 0.5, "beta 0.1", 200, REPEATS, np.random.default_rng(0))
    assert found.new == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / REPEATS))


def test_seeds_that_are_alike_give_a_wide_interval_never_a_narrow_one() -> None:
    assert simulate(3, 0.5, "none", 64, 500, np.random.default_rng(0)).new > HIGH


@pytest.mark.parametrize("spread", ["none", "beta 0.1", "logit-normal 1"])
def test_rates_have_the_mean_and_spread_that_are_asked_for(spread: str) -> None:
    rates = draw_rates(np.random.default_rng(0), 0.1, spread, (100_000,))
    assert rates.mean() == pytest.approx(0.1, abs=0.002)
    if spread != "logit-normal 1":
        assert rates.var() == pytest.approx({"none": 0.0, "beta 0.1": 0.1 * 0.1 * 0.9}[spread], rel=0.03)
