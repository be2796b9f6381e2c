"""Curves of metrics over a run: of each variant the mean over seeds and its interval, at a bounded number of points."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.report.intervals import band
from rpd_jax.runs.metrics_log import read_rows

Json = dict[str, Any]
MOST_METRICS = 10_000  # names in a log; a run has about thirty of each member
MOST_EPISODES = 1_000_000  # behind a success rate; the grid that its interval is computed on grows with them
DIGITS = 4  # of a number on the page


class Log:
    """A metrics.jsonl as columns.

    Attributes:
      steps: [R], environment steps per member.
      columns: name -> values [R]; NaN where they are not known.
      problem: why rows at the end, or names, were left out; empty: they were not.
    """

    def __init__(self, path: Path) -> None:
        self.problem = ""
        steps: list[int] = []
        columns: dict[str, array[float]] = {}
        try:
            for step, row in read_rows(path):
                for name, value in row.items():
                    if name not in columns:
                        if len(columns) == MOST_METRICS:
                            self.problem = (
                                f"{path.name} has more than {MOST_METRICS:,} metrics: the others are left out"
                            )
                            continue
                        columns[name] = array("d", [math.nan] * len(steps))
                    columns[name].append(_float(value))
                steps.append(step)
                for values in columns.values():
                    if len(values) < len(steps):
                        values.append(math.nan)
        except ConfigError as error:
            self.problem = f"{str(error).replace(str(path), path.name)}; what follows is left out"
        self.steps = np.array([_float(step) for step in steps])
        self.columns = {name: np.array(values) for name, values in columns.items()}


def member_metrics(columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, dict[int, np.ndarray]]]:
    """Columns by "group/metric", variant and seed; those of a whole run have the variant "" and the seed 0."""
    found: dict[str, dict[str, dict[int, np.ndarray]]] = {}
    for name, values in columns.items():
        group, _, rest = name.partition("/")
        metric, _, member = rest.partition("/")
        variant, _, seed = member.rpartition("/")
        if variant and seed.isdecimal() and len(seed) < 20:
            found.setdefault(f"{group}/{metric}", {}).setdefault(variant, {})[int(seed)] = values
        else:
            found.setdefault(name, {})[""] = {0: values}
    return found


def of_metric(
    metric: str, variants: Mapping[str, Mapping[int, np.ndarray]], steps: np.ndarray, points: int, episodes: int
) -> list[Json]:
    """The curves of a metric.

    Where a run has more rows than `points`, a point is the mean of neighbouring rows. Of evaluations, whose intervals
    are over their own episodes, only some are taken instead.

    Args:
      metric: "group/metric".
      variants: variant -> seed -> values [R].
      steps: [R].
      points: of a curve at most.
      episodes: behind a success rate of an evaluation; 0: not known.

    Raises:
      ValueError: impossible rates or episodes.
    """
    evaluated = metric.startswith("eval/")
    found = []
    for variant, seeds in variants.items():
        values = np.stack(list(seeds.values()))
        known = np.isfinite(values).all(axis=0)
        x, values = steps[known], values[:, known]
        if len(x) == 0:
            continue
        if evaluated:
            chosen = spread(len(x), points)
            x, values = x[chosen], values[:, chosen]
        elif len(x) > points:
            edges = np.linspace(0, len(x), points + 1).astype(int)
            x, values = x[edges[1:] - 1], np.add.reduceat(values, edges[:-1], axis=1) / np.diff(edges)
        counts = np.full(values.shape, episodes) if evaluated and episodes and is_rate(metric) else None
        found.append(curve(variant, x, values, counts, rate=is_rate(metric), seeds=evaluated))
    return found


def curve(
    variant: str, x: np.ndarray, values: np.ndarray, episodes: np.ndarray | None, *, rate: bool, seeds: bool
) -> Json:
    """A curve as the page draws it: x, mean, low and high (null with one seed), and the seeds' own where wanted.

    The interval is `success_rates`'s where the episodes behind rates are known, else Student's; of two seeds it is
    their range.

    Args:
      variant: its name; "" is the run itself.
      x: [K].
      values: [S, K], finite.
      episodes: [S, K] behind values that are success rates; None: not known, or other quantities.
      rate: values are shares: intervals end at 0 and 1.
      seeds: whether each seed's curve is wanted.

    Raises:
      ValueError: impossible rates or episodes.
    """
    low = high = None
    if episodes is not None and episodes.max() > MOST_EPISODES:
        raise ValueError(f"episodes={episodes.max():.0f} cannot work: it must be at most {MOST_EPISODES:,}")
    if len(values) > 1:
        low, high = band(values, episodes)
        if rate:
            low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    made = {"variant": variant, "x": numbers(x, 9), "mean": numbers(values.mean(0)), "n": len(values)}
    if low is not None and high is not None:
        made |= {"low": numbers(low), "high": numbers(high)}
    if seeds and len(values) > 1:
        made["seeds"] = [numbers(each) for each in values]
    return made


def is_rate(metric: str) -> bool:
    """Whether a metric's values are shares of episodes or of actions."""
    return metric.partition("/")[2].startswith("success_") or metric.endswith("_fraction")


def spread(count: int, points: int) -> np.ndarray:
    """At most `points` of the indices below `count`, evenly, the last among them."""
    return np.unique(np.linspace(count - 1, 0, min(count, points)).round().astype(int))


def numbers(values: Sequence[float] | np.ndarray, digits: int = DIGITS) -> list[float | None]:
    """Rounded to significant digits; None for what is not finite."""
    return [number(value, digits) for value in np.asarray(values, np.float64).tolist()]


def number(value: Any, digits: int = DIGITS) -> float | None:
    """A number that JSON knows, rounded; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    rounded = float(f"{_float(value):.{digits}g}")
    if not math.isfinite(rounded):
        return None
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.nan
