"""How often the intervals of success rates cover the truth, by simulation, beside the percentile bootstrap over seeds.

    python -m benchmarks.coverage --json=coverage.json

Seeds' rates are drawn with a given mean and spread, then the successes of their episodes; an interval covers if the
mean lies in it. It prints one Markdown table for each number of seeds. A cell "72.0- 95.1" is the coverage of the
bootstrap and of `rpd_jax.report.intervals.success_rates`, in percent: "-" is below 93, "+" above 97. The width is the
mean width of the latter. Spreads: none; beta distributions by their intra-class correlation r, where the rates'
variance is r mean (1 - mean); normal distributions of the logit by their standard deviation. The last table has seeds
that are evaluated in the same initial states, some of which are harder than others for all of them.

  SEEDS/bootstrap_min, _max            lowest and highest coverage
  SEEDS/bootstrap_below, _above        shares of cells below 93 and above 97 %
  SEEDS/new_...                        the same of the new intervals
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from benchmarks import common
from rpd_jax.report.intervals import success_rates
from rpd_jax.report.table import render

SEEDS, EPISODES = (2, 3, 5, 10), (30, 128, 500)
MEANS = (0.02, 0.1, 0.5, 0.9, 0.98)
SPREADS = ("none", "beta 0.01", "beta 0.1", "beta 0.3", "beta 0.5", "logit-normal 1")
LOW, HIGH = 0.93, 0.97


class Coverage(NamedTuple):
    """Shares of simulations whose interval has the truth in it, and the new intervals' mean width."""

    bootstrap: float
    new: float
    width: float


def draw_rates(rng: np.random.Generator, mean: float, spread: str, size: tuple[int, ...]) -> np.ndarray:
    """Success rates of seeds with that mean, see `SPREADS`."""
    kind, _, number = spread.partition(" ")
    if kind == "none":
        return np.full(size, mean)
    if kind == "beta":
        concentration = 1 / float(number) - 1
        return rng.beta(mean * concentration, (1 - mean) * concentration, size)
    sd = float(number)
    return expit(_logit_of_mean(mean, sd) + sd * rng.standard_normal(size))


def bootstrap(rates: np.ndarray, rng: np.random.Generator, resamples: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap over seeds of rates [B, S]: the 95 % intervals that reports had until 2026-11."""
    chosen = rng.integers(rates.shape[1], size=(resamples, rates.shape[1]))
    low, high = np.quantile(rates[:, chosen].mean(-1), [0.025, 0.975], axis=1)
    return low, high


def coverage(successes: np.ndarray, episodes: int, mean: float, rng: np.random.Generator) -> Coverage:
    """Coverage of both intervals over simulations of successes [B, S], all of as many episodes."""
    counts, repeats = np.unique(np.sort(successes, axis=1), axis=0, return_counts=True)
    old, new = bootstrap(counts / episodes, rng), success_rates(counts, np.full_like(counts, episodes))
    rounding = 1e-9  # the bootstrap's ends are often the mean itself
    hits = [(low <= mean + rounding) & (mean <= high + rounding) for low, high in (old, new[:2])]
    covered = [float(np.average(hit, weights=repeats)) for hit in hits]
    return Coverage(*covered, float(np.average(new.high - new.low, weights=repeats)))


def simulate(seeds: int, mean: float, spread: str, episodes: int, repeats: int, rng: np.random.Generator) -> Coverage:
    """Coverage where every seed is evaluated in episodes of its own."""
    return coverage(rng.binomial(episodes, draw_rates(rng, mean, spread, (repeats, seeds))), episodes, mean, rng)


def simulate_shared(seeds: int, mean: float, episodes: int, repeats: int, rng: np.random.Generator) -> Coverage:
    """Coverage where all seeds meet the same initial states: logits vary by 0.5 between seeds, 1.5 between states."""
    logit = _logit_of_mean(mean, float(np.hypot(0.5, 1.5)))
    logits = logit + 0.5 * rng.standard_normal((repeats, seeds, 1)) + 1.5 * rng.standard_normal((repeats, 1, episodes))
    return coverage((rng.random(logits.shape) < expit(logits)).sum(-1), episodes, mean, rng)


def _logit_of_mean(mean: float, sd: float) -> float:
    """The mean of normal logits whose rates have the given mean, by bisection."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    low, high = -40.0, 40.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        below = expit(middle + sd * points) @ weights / weights.sum() < mean
        low, high = (middle, high) if below else (low, middle)
    return low


def _cell(found: Coverage) -> str:
    marks = ["-" if x < LOW else "+" if x > HIGH else " " for x in found[:2]]
    return " ".join(f"{100 * x:.1f}{mark}" for x, mark in zip(found[:2], marks, strict=True)).rstrip()


def _table(names: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[Coverage]]]) -> str:
    headers = [*names, *(f"{n} episodes" for n in EPISODES), *(f"width, {n}" for n in EPISODES)]
    cells = [[*head, *map(_cell, found), *(f"{x.width:.3f}" for x in found)] for head, found in rows]
    return render(headers, cells, markdown=True)


def main() -> None:
    options = common.make_parser("coverage").parse_args()
    repeats = 100 if options.quick else 2000
    figures = {}
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        rows = []
        for mean, spread in itertools.product(MEANS, SPREADS):
            found = [simulate(seeds, mean, spread, n, repeats, rng) for n in EPISODES]
            rows.append(((f"{mean:g}", spread), found))
        new = "their range" if seeds == 2 else "new interval"
        print(f"{seeds} seeds: bootstrap, {new}\n\n{_table(('mean', 'spread'), rows)}\n")
        for name in ("bootstrap", "new"):
            shares = np.array([getattr(x, name) for _, found in rows for x in found])
            figures[f"{seeds}/{name}_min"], figures[f"{seeds}/{name}_max"] = shares.min(), shares.max()
            figures[f"{seeds}/{name}_below"], figures[f"{seeds}/{name}_above"] = (
                (shares < LOW).mean(),
                (shares > HIGH).mean(),
            )
    rng, rows = np.random.default_rng(0), []
    for seeds, mean in itertools.product((3, 5, 10), (0.1, 0.5, 0.98)):
        rows.append(((str(seeds), f"{mean:g}"), [simulate_shared(seeds, mean, n, repeats, rng) for n in EPISODES]))
    print(f"The same initial states for all seeds: bootstrap, new interval\n\n{_table(('seeds', 'mean'), rows)}\n")
    common.write("coverage", figures, options.json)


if __name__ == "__main__":
    main()
