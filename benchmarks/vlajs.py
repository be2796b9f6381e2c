"""VLAJS's claims, read off finished runs: each is reported with its figures, whether it holds or not.

    python -m launch.train --preset=vlajs-push            # and others, see rpd_jax/presets/vlajs.py
    python -m benchmarks.vlajs runs/vlajs-push runs/... --json=vlajs.json

Of every run, from curves.json and metrics.jsonl; VARIANT is one of its variants, curves are means over seeds:

  RUN/final_VARIANT       success at the end, over all seeds
  RUN/area_VARIANT        mean of the learning curve, which is success averaged over training
  RUN/queries_VARIANT     teacher queries, as a share of environment steps

and of those whose names begin with vlajs:

  RUN/level_VARIANT       a common level: 90 % of the best that the lower of its curve and ppo's reaches; left out, like
                          the next, where ppo stays below 0.1
  RUN/steps_ratio_VARIANT environment steps to that level over those of ppo
  RUN/half_VARIANT        steps to success 0.5, as a share of all steps; 2 where it stays below
  RUN/off_share_VARIANT   share of its seeds whose guidance ended
  RUN/off_at_VARIANT      the share of training after which it ended, mean over these seeds
  RUN/before_off_VARIANT, /after_off_VARIANT
                          success of these seeds at the last evaluation before it ended, and at the end
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from rpd_jax.report.results import POINTS_FILE
from rpd_jax.runs.metrics import METRICS_FILE, read_metrics
from rpd_jax.training.summary import curves

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Variant -> (steps [K], success [seeds, K])."""


def curves_of(points: Sequence[Mapping[str, Any]]) -> Curves:
    """The learning curves of a run's curves.json."""
    return {curve.variant: (curve.x, curve.values) for curve in curves(points, "env_steps")}


def steps_to(level: float, steps: np.ndarray, success: np.ndarray) -> float | None:
    """Environment steps after which a curve [K] first reaches a level, between evaluations by a straight line."""
    above = np.flatnonzero(success >= level)
    if not len(above):
        return None
    last = int(above[0])
    if last == 0:
        return float(steps[0] * level / success[0]) if success[0] > 0 else float(steps[0])
    share = (level - success[last - 1]) / (success[last] - success[last - 1])
    return float(steps[last - 1] + share * (steps[last] - steps[last - 1]))


def endings(rows: Sequence[Mapping[str, float]], variant: str) -> dict[int, float]:
    """Seed -> the share of training after which a variant's guidance ended, of the seeds where it did."""
    prefix = f"update/distill_weight/{variant}/"
    found = {}
    for name in [name for name in rows[0] if name.startswith(prefix)]:
        ended = [i for i, row in enumerate(rows) if row[name] == 0.0]
        if ended:
            found[int(name.removeprefix(prefix))] = ended[0] / len(rows)
    return found


def figures_of(run: Path) -> dict[str, float]:
    """The figures of one run, see the head of this file."""
    points = json.loads((run / POINTS_FILE).read_text())
    rows, by_variant = read_metrics(run / METRICS_FILE), curves_of(points)
    total = max(point["env_steps"] for point in points)
    figures = {}
    for variant, (steps, success) in by_variant.items():
        mean = success.mean(0)
        figures[f"final_{variant}"] = float(mean[-1])
        figures[f"area_{variant}"] = float(np.trapezoid(np.append(0.0, mean), np.append(0, steps)) / total)
        asked = [p["labels"] for p in points if p["variant"] == variant and p["env_steps"] == total]
        figures[f"queries_{variant}"] = float(np.mean(asked)) / total
    seeds = sorted({point["seed"] for point in points})
    for variant, (steps, success) in by_variant.items():
        if variant.startswith("vlajs"):
            own = _against_ppo(by_variant, variant)
            half = steps_to(0.5, steps, success.mean(0))
            own["half"] = 2.0 if half is None else half / total
            own |= _after_the_end(endings(rows, variant), steps / total, success, seeds)
            figures |= {f"{name}_{variant}": value for name, value in own.items()}
    return figures


def _against_ppo(by_variant: Curves, variant: str) -> dict[str, float]:
    if "ppo" not in by_variant:
        return {}
    means = {name: by_variant[name][1].mean(0) for name in ("ppo", variant)}
    level = 0.9 * min(mean.max() for mean in means.values())
    if means["ppo"].max() < 0.1 or level <= 0:
        return {}
    reached = {name: steps_to(level, by_variant[name][0], mean) for name, mean in means.items()}
    ours, theirs = reached[variant], reached["ppo"]
    assert ours is not None and theirs is not None, "both reach the level"
    return {"level": float(level), "steps_ratio": ours / theirs}


def _after_the_end(
    ended: Mapping[int, float], shares: np.ndarray, success: np.ndarray, seeds: Sequence[int]
) -> dict[str, float]:
    figures = {"off_share": len(ended) / len(seeds)}
    before, after = [], []
    for seed, at in ended.items():
        row = success[list(seeds).index(seed)]
        known = np.flatnonzero(shares <= at)
        before.append(row[known[-1]] if len(known) else 0.0)
        after.append(row[-1])
    if ended:
        figures["off_at"] = float(np.mean(list(ended.values())))
        figures["before_off"], figures["after_off"] = float(np.mean(before)), float(np.mean(after))
    return figures


def main() -> None:
    parser = common.make_parser("vlajs")
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    options = parser.parse_args()
    figures = {f"{run.name}/{key}": value for run in options.runs for key, value in figures_of(run).items()}
    common.write("vlajs", figures, options.json)


if __name__ == "__main__":
    main()
