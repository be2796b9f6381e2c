"""What the directory of a run or an evaluation holds, for the page."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.report.results import POINTS_FILE, RESULTS_FILE, VIDEO_FILE, ResultRow, read_results
from rpd_jax.runs.checkpoint import CONFIG_FILE
from rpd_jax.runs.files import read_json, read_list
from rpd_jax.runs.metrics import METRICS_FILE
from rpd_jax.view import curves
from rpd_jax.view.places import LARGEST, LARGEST_STREAM, Place, inside

Json = dict[str, Any]
MOST_SETTINGS, LONGEST_SETTING = 2000, 300
ALARM = "alarm/"
POINT = {"success_once": "success_once", "success_at_end": "success_at_end", "return": "episode_return"}
"""Metrics of evaluations -> their names in curves.json."""


def gather(place: Place, points: int) -> Json:
    """Everything that there is to see of a run; what cannot be read is named in "problems" and left out.

    Args:
      place: of the run.
      points: of a curve at most.
    """
    problems: list[str] = []
    config = _read(place.path, CONFIG_FILE, read_json, {}, problems)
    log = _read(place.path, METRICS_FILE, curves.Log, None, problems, LARGEST_STREAM)
    results = _read(place.path, RESULTS_FILE, read_results, None, problems)
    metrics: Json = {}
    if log is not None:
        if log.problem:
            problems.append(log.problem)
        episodes = _of(config, "eval", "curve_episodes")
        for metric, variants in curves.member_metrics(log.columns).items():
            if metric.startswith(ALARM):
                continue
            try:
                metrics[metric] = curves.of_metric(metric, variants, log.steps, points, episodes)
            except ValueError as error:
                problems.append(f"{METRICS_FILE}: {metric} is left out: {error}")
    evaluated = _read(place.path, POINTS_FILE, lambda path: evaluations(read_list(path), points), {}, problems)
    shown = metrics | evaluated
    video = _read(place.path, VIDEO_FILE, lambda path: path.name, "", problems, LARGEST_STREAM)
    rows = [] if results is None else [row.to_json() | {"teacher": row.is_teacher} for row in results.rows]
    whole = config or (dict(results.config) if results else {})
    return {
        "name": place.name,
        "problems": problems,
        "written": _written(place.path),
        "state": _state(config, log, results is not None),
        "settings": settings(whole),
        "metrics": {metric: found for metric, found in sorted(shown.items()) if found},
        "rows": rows,
        "teacher": next((_level(row) for row in (results.rows if results else ()) if row.is_teacher), None),
        "alarms": [] if log is None else alarms(log),
        "video": video,
    }


def evaluations(points: list[Any], most: int) -> dict[str, list[Json]]:
    """The curves of curves.json, whose intervals are over seeds and episodes, and the queries at each point.

    Raises:
      ConfigError: they are not what a run writes.
    """
    members: dict[str, dict[int, dict[int, Mapping[str, float]]]] = {}
    try:
        for each in points:
            numbers = {name: float(each[name]) for name in (*POINT.values(), "episodes", "labels", "env_steps")}
            if not all(map(math.isfinite, numbers.values())) or numbers["episodes"] < 1:
                raise ValueError("a point's numbers must be finite, of one episode at least")
            if not all(0 <= numbers[name] <= 1 for name in ("success_once", "success_at_end")):
                raise ValueError("success rates must be in [0, 1]")
            members.setdefault(str(each["variant"]), {}).setdefault(int(each["seed"]), {})[int(each["env_steps"])] = (
                numbers
            )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{POINTS_FILE} is damaged: {error!r}") from error
    found: dict[str, list[Json]] = {f"eval/{metric}": [] for metric in POINT}
    for variant, seeds in members.items():
        steps = sorted(set.intersection(*(set(mine) for mine in seeds.values())))
        if not steps:
            continue
        steps = [steps[index] for index in curves.spread(len(steps), most)]

        def of(name: str, seeds: Any = seeds, steps: list[int] = steps) -> np.ndarray:
            return np.array([[mine[step][name] for step in steps] for mine in seeds.values()])

        for metric, name in POINT.items():
            rate = curves.is_rate(f"eval/{metric}")
            made = curves.curve(
                variant, np.array(steps), of(name), of("episodes") if rate else None, rate=rate, seeds=True
            )
            queries = of("labels").mean(0)
            found[f"eval/{metric}"].append(made | ({"queries": curves.numbers(queries, 9)} if queries.any() else {}))
    return found


def alarms(log: curves.Log) -> list[Json]:
    """Which alarms rang for which seeds of a variant, and at which step first."""
    found = []
    for metric, variants in curves.member_metrics(log.columns).items():
        if not metric.startswith(ALARM):
            continue
        for variant, seeds in variants.items():
            rang = {seed: int(np.argmax(values > 0)) for seed, values in seeds.items() if (values > 0).any()}
            if rang:
                step = curves.number(log.steps[min(rang.values())], 9)
                name = metric.removeprefix(ALARM).replace("_", " ")
                found.append({"alarm": name, "variant": variant, "seeds": sorted(rang), "of": len(seeds), "step": step})
    return found


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """A config's values as text by dotted names; of the lists of tables those that have names, by them."""
    found: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if len(found) >= MOST_SETTINGS:
            return
        if isinstance(value, dict):
            for key, each in value.items():
                add(f"{name}.{key}" if name else key, each)
        elif isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
            for each in value:
                add(f"{name}[{each['name']}]", {key: inner for key, inner in each.items() if key != "name"})
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            found[name] = text if len(text) <= LONGEST_SETTING else f"{text[:LONGEST_SETTING]}..."

    add("", config)
    return found


def _read(directory: Path, name: str, read: Any, missing: Any, problems: list[str], largest: int = LARGEST) -> Any:
    """A file's content, or `missing`; a problem is one line that names the file and not where it lies."""
    try:
        path = inside(directory, name, largest)
        return missing if path is None else read(path)
    except (ValueError, OSError, RecursionError) as error:
        problems.append(" ".join(str(error).replace(f"{directory / name}", name).split()))
        return missing


def _level(row: ResultRow) -> Json:
    level = (row.success_once, row.low, row.high)
    return {"variant": row.variant} | dict(zip(("value", "low", "high"), curves.numbers(level), strict=True))


def _written(directory: Path) -> str:
    files = [directory / name for name in (METRICS_FILE, RESULTS_FILE, CONFIG_FILE)]
    newest = max((file.lstat().st_mtime for file in files if file.is_file()), default=None)
    return "" if newest is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(newest))


def _state(config: Mapping[str, Any], log: curves.Log | None, done: bool) -> str:
    """ "finished", or how far a run is that goes on or was cut."""
    if done:
        return "finished"
    total = _of(config, "algorithm", "total_steps")
    step = 0 if log is None or len(log.steps) == 0 else int(np.nan_to_num(log.steps[-1]))
    return f"{step:,} of {total:,} steps" if total else f"{step:,} steps"


def _of(config: Mapping[str, Any], section: str, name: str) -> int:
    """A positive whole number of a section; 0 where there is none."""
    fields = config.get(section)
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if type(value) is int and value > 0 else 0
