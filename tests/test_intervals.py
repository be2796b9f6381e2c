"""Intervals over seeds: closed forms, an independent integration, and what they must do whatever the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from rpd_jax.report.intervals import SPREAD_MAX, SPREAD_PRIOR, band, beta_binomial, student_t, success_rates, wilson
from rpd_jax.training import summary
from rpd_jax.training.evaluation import Episodes


def test_wilson_by_hand_and_as_scipys() -> None:
    # k = 50, n = 100, z = 1.959964: z² / n = 0.0384146, middle = (0.5 + 0.0192073) / 1.0384146 = 0.5,
    # half = 1.959964 * sqrt(0.25 / 100 + 0.0384146 / 400) / 1.0384146 = 0.0961676
    assert wilson(50, 100) == pytest.approx((0.4038324, 0.5961676), abs=1e-6)
    # k = 0: the lower end is 0, the upper one z² / (n + z²) = 3.8414588 / 13.8414588
    assert wilson(0, 10) == (0.0, pytest.approx(0.2775328, abs=1e-6))
    assert wilson(10, 10) == (pytest.approx(1 - 0.2775328, abs=1e-6), 1.0)
    for k, n, confidence in [(1, 3, 0.95), (7, 10, 0.9), (199, 200, 0.99), (0, 1, 0.5)]:
        reference = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
        assert wilson(k, n, confidence) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_refuses_impossible_numbers() -> None:
    refused = {(1, 0): "trials=0", (3, 2): "successes=3", (-1, 2): "successes=-1", (1, 2, 1.0): "confidence=1.0"}
    for arguments, message in refused.items():
        with pytest.raises(ValueError, match=message):
            wilson(*arguments)


def test_single_episodes_give_jeffreys_interval() -> None:
    """One episode a seed says nothing about r: p(k | m, r) = m or 1 - m, m is Beta(k + 1/2, S - k + 1/2)."""
    low, high = beta_binomial([[1, 1, 0], [0, 0, 0], [1, 1, 1]], np.ones((3, 3)))
    middle = scipy.stats.beta(2.5, 1.5).ppf([0.025, 0.975])
    end = scipy.stats.beta(0.5, 3.5).ppf(0.975)
    np.testing.assert_allclose([low[0], high[0]], middle, atol=2e-4)
    np.testing.assert_allclose([low[1:], high[1:]], [[0.0, 1 - end], [end, 1.0]], atol=2e-4)


@pytest.mark.parametrize(("k", "n"), [([3, 9, 6], [10, 20, 30]), ([60, 61, 59, 60], [64] * 4), ([0, 0, 25], [100] * 3)])
def test_the_posterior_agrees_with_sums_over_scipys_densities(k: list[int], n: list[int]) -> None:
    """The same model on another grid: even in the logits of m and of r / SPREAD_MAX."""
    m = scipy.special.expit(np.linspace(-12, 12, 2401))[:, None]
    share = scipy.special.expit(np.linspace(-25, 25, 201))
    r = SPREAD_MAX * share
    a, b = m * (1 - r) / r, (1 - m) * (1 - r) / r
    logs = sum(scipy.stats.betabinom.logpmf(i, j, a, b) for i, j in zip(k, n, strict=True))
    logs = logs + scipy.stats.beta(0.5, 0.5).logpdf(m) + scipy.stats.beta(*SPREAD_PRIOR).logpdf(share)
    density = np.exp(logs) * m * (1 - m) * share * (1 - share)
    below = np.cumsum(density.sum(1)) / density.sum()
    expected = np.interp([0.05, 0.95], below, m[:, 0])
    np.testing.assert_allclose(np.ravel(beta_binomial([k], [n], 0.9)), expected, atol=2e-3)


def test_failures_are_successes_mirrored_and_the_order_of_seeds_is_nothing() -> None:
    k, n = np.array([[3, 20, 11], [11, 3, 20]]), np.array([[30, 32, 40], [40, 30, 32]])
    (low, high), (mirrored_low, mirrored_high) = beta_binomial(k, n), beta_binomial(n - k, n)
    np.testing.assert_allclose([low, high], [1 - mirrored_high, 1 - mirrored_low], atol=1e-6)
    np.testing.assert_allclose([low[0], high[0]], [low[1], high[1]], atol=1e-6)


def test_intervals_contain_the_mean_and_the_noise_of_the_episodes() -> None:
    """Seeds that agree exactly still leave what their episodes cannot tell; seeds that differ leave more."""
    k = np.random.default_rng(0).binomial(50, np.random.default_rng(1).beta(0.3, 0.5, (200, 3)))
    low, high = beta_binomial(k, np.full_like(k, 50))
    assert (low <= k.mean(1) / 50).all() and (k.mean(1) / 50 <= high).all()
    low, high = beta_binomial([[45, 45, 45], [40, 45, 50]], [[50] * 3] * 2)
    pooled = wilson(135, 150)
    assert pooled.high - pooled.low < high[0] - low[0] < high[1] - low[1]


def test_many_episodes_are_resolved() -> None:
    """Ten seeds alike with ten thousand episodes each: little more than 2 x 1.96 √(p (1 - p) / 10⁵)."""
    low, high = beta_binomial([[5_000] * 10], [[10_000] * 10])
    assert 2 * 1.9 * np.sqrt(0.25 / 1e5) < high[0] - low[0] < 2 * 2.5 * np.sqrt(0.25 / 1e5)


def test_one_seed_has_an_interval_over_episodes_two_a_range_three_an_interval_over_seeds() -> None:
    one = success_rates([[7], [8]], [[8], [8]])
    assert one.kind == "episodes" and (one.low[0], one.high[0]) == wilson(7, 8)
    two = success_rates([[6, 2]], [[8, 4]])
    assert two.kind == "range" and (two.low[0], two.high[0]) == (0.5, 0.75)
    three = success_rates([[6, 2, 1]], [[8, 4, 4]])
    assert three.kind == "seeds" and np.ravel(beta_binomial([[6, 2, 1]], [[8, 4, 4]])).tolist() == [
        *three.low,
        *three.high,
    ]


@pytest.mark.parametrize(
    ("successes", "episodes", "message"),
    [
        ([[1, 2, 3]], [[2, 2, 2]], r"successes=\[\[1, 2, 3\]\]"),
        ([[-1, 2, 2]], [[2, 2, 2]], r"successes=\[\[-1, 2, 2\]\]"),
        ([[0, 0, 0]], [[2, 0, 2]], "episodes=0"),
        ([[0.5, 0, 0]], [[2, 2, 2]], "whole numbers"),
        ([[float("nan"), 0, 0]], [[2, 2, 2]], "whole numbers"),
        ([0, 0, 0], [2, 2, 2], r"must be \[B, S\]"),
        ([[0, 0, 0]], [[2, 2]], r"must be \[B, S\]"),
        ([[]], [[]], "S at least 1"),
    ],
)
def test_impossible_counts_are_refused(successes: list[Any], episodes: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        success_rates(successes, episodes)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_an_impossible_confidence_is_refused(seeds: int) -> None:
    with pytest.raises(ValueError, match=r"confidence=1\.0"):
        success_rates([[1] * seeds], [[2] * seeds], 1.0)


def test_students_interval_by_hand() -> None:
    # mean 2, s = 1, t of 2 degrees of freedom 4.302653: half = 4.302653 / √3 = 2.484138
    assert np.ravel(student_t([1.0, 2.0, 3.0])) == pytest.approx([2 - 2.484138, 2 + 2.484138], abs=1e-6)
    low, high = student_t([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert low == pytest.approx([2 - 2.484138, 5.0]) and high == pytest.approx([2 + 2.484138, 5.0])


@pytest.mark.parametrize("values", [[], [0.1], 0.1, [0.1, float("nan")]])
def test_student_refuses_what_has_no_spread(values: Any) -> None:
    with pytest.raises(ValueError, match="cannot work"):
        student_t(values)


def episodes_of(successes: int, episodes: int) -> Episodes:
    success = np.arange(episodes) < successes
    return Episodes(success, success, success.astype(float))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_rows_have_the_interval_of_their_seeds(seeds: int) -> None:
    successes = [6, 5, 2][:seeds]
    cost = summary.Cost(100, [0] * seeds, 1.0)
    row = summary.row("toy:Reach-v0", "ppo", [episodes_of(k, 8) for k in successes], seeds, cost)
    expected = success_rates([successes], [[8] * seeds])
    assert (row.low, row.high, row.interval) == (expected.low[0], expected.high[0], expected.kind)


def test_a_teachers_row_has_wilsons_interval() -> None:
    row = summary.teacher_row("toy:Reach-v0", "toy", episodes_of(6, 8))
    assert (row.low, row.high, row.interval) == (*wilson(6, 8), "episodes")


def test_curves_know_their_episodes() -> None:
    points = [
        summary.CurvePoint("ppo", seed, step, 8 * (seed + 1), 0.5, 0.5, 0.0)._asdict()
        for seed in (0, 1)
        for step in (10, 20)
    ]
    (curve,) = summary.curves(points, "env_steps")
    assert curve.episodes is not None and curve.episodes.tolist() == [[8, 8], [16, 16]]


def test_a_band_is_the_range_of_two_seeds_and_else_the_interval_of_what_is_drawn() -> None:
    values = np.array([[0.25, 0.5], [0.5, 0.5], [0.75, 0.5]])
    low, high = band(values[:2], np.full((2, 2), 8))
    assert low.tolist() == [0.25, 0.5] and high.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(band(values, np.full((3, 2), 8)), beta_binomial([[2, 4, 6], [4] * 3], [[8] * 3] * 2))
    np.testing.assert_allclose(band(values), student_t(values))
