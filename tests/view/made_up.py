"""Directories of made-up runs and comparisons, as the library's own programs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.report.results import ResultRow, write_results
from rpd_jax.runs.files import write_json
from rpd_jax.runs.metrics_log import JsonlWriter

EPISODES = 20


def run(
    directory: Path,
    variants: Mapping[str, float] = {"ppo": 0.25, "rpd-mse": 0.75},
    seeds: Sequence[int] = (0, 1, 2),
    *,
    rows: int = 8,
    note: str = "",
    done: bool = True,
    config: Mapping[str, Any] = {},
) -> Path:
    """A run whose variants end with these success rates, reached in even steps; seeds differ by an episode each."""
    directory.mkdir(parents=True)
    whole = {
        "seeds": list(seeds),
        "variants": [{"name": name, "terms": {}} for name in variants],
        "eval": {"curve_episodes": EPISODES},
        "algorithm": {"total_steps": rows * 100},
        "run": {"directory": str(directory)},
        **config,
    }
    (directory / "config.json").write_text(json.dumps(whole))
    points, log = [], JsonlWriter(directory / "metrics.jsonl")
    for row in range(1, rows + 1):
        metrics: dict[str, float] = {"time/iteration": 0.5}
        for variant, end in variants.items():
            for seed in seeds:
                member, rate = f"{variant}/{seed}", np.clip(end * row / rows + (seed - 1) / EPISODES, 0, 1)
                rate = round(rate * EPISODES) / EPISODES
                metrics |= {f"update/std/{member}": 0.5 + 0.1 * seed, f"update/label_fit/{member}": float("nan")}
                metrics[f"alarm/std_growth/{member}"] = float(seed == 0 and row >= 3 and end > 0.5)
                if row % 2 == 0:
                    metrics[f"eval/success_once/{member}"] = rate
                    points.append(
                        {"variant": variant, "seed": seed, "env_steps": row * 100, "episodes": EPISODES}
                        | {"success_once": rate, "success_at_end": rate, "episode_return": 10 * rate}
                        | {"labels": 0 if variant == "ppo" else row * 50}
                    )
        log.write(row * 100, metrics)
    log.close()
    if done:
        write_json(directory / "curves.json", points)
        table = [_row("teacher:scripted", 0.5, 0, "")]
        table += [_row(variant, end, len(seeds), note) for variant, end in variants.items()]
        write_results(directory / "results.json", table, whole)
    return directory


def _row(variant: str, rate: float, seeds: int, note: str) -> ResultRow:
    ends = {"low": max(0.0, rate - 0.1), "high": min(1.0, rate + 0.1), "interval": "seeds" if seeds else "episodes"}
    counts = {"seeds": seeds, "env_steps": 800 if seeds else 0, "teacher_calls": 0}
    return ResultRow(
        "toy:Reach-v0", variant, **counts, success_once=rate, success_at_end=rate, **ends,
        episode_return=1.0, seconds=2.0, note=note,
    )  # fmt: skip


def comparison(directory: Path, **changes: Any) -> Path:
    """The comparison.json of two arms in two cases, with what `changes` says otherwise."""
    directory.mkdir(parents=True)
    (directory / "comparison.json").write_text(json.dumps(stored() | changes))
    return directory


def stored() -> dict[str, Any]:
    """What such a file holds."""
    arms = {
        "ppo": _arm([[0.0, 0.1], [0.0, 0.3], [0.0, 0.2]], {"ppo": [0.1, 0.2]}),
        "rpd-mse": _arm([[0.2, 0.9], [0.1, 0.8], [0.3, 1.0]], {"rpd-mse:mse=1": [0.4, 0.6], "rpd-mse:mse=5": [0.8, 1]}),
    }
    claim = {"text": "RPD ends above PPO", "published": "+.5", "verdict": "holds", "estimate": 0.7}
    claim |= {"low": 0.6, "high": 0.8}
    case = {"published": "", "steps": 200, "teacher": None}
    return {
        "experiment": "smoke", "title": "A made-up comparison", "source": "", "command": "rpd-jax compare", "date": "",
        "machine": "", "commit": "", "fingerprint": "", "rule": "", "problems": ["an arm's gradient is zero"],
        "claims": [claim],
        "over_all": {"ppo": {"iqm": {"value": 0.2, "low": 0.1, "high": 0.3}, "improvement": None}},
        "cases": [{**case, "name": name, "arms": arms} for name in ("near", "far")],
        "deviations": [],
    }  # fmt: skip


def _arm(curve: list[list[float]], tuning: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    counts = [[10, 20]] * len(curve)
    end = {"setting": next(iter(tuning)), "scores": [row[-1] for row in curve], "interval": [0.1, 0.9], "rising": True}
    steps = {"steps": [100, 200], "queries": [0.0, 0.0]}
    return {**end, **steps, "note": "", "curve": curve, "counts": counts, "tuning": dict(tuning)}
