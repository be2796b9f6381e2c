"""Checks that a comparison makes of itself: mistakes that would otherwise look like results.

A term whose gradient is zero makes an arm PPO by another name; labels that do not belong to the states they stand
beside make it worse than PPO, and "does not work" would be concluded of the method.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rpd_jax.algorithms.variants import parse_variant, resolve_variants
from rpd_jax.comparison.experiment import Arm, Experiment
from rpd_jax.config import Config
from rpd_jax.losses.terms import TERMS, guided
from rpd_jax.runs.metrics import METRICS_FILE, read_metrics
from rpd_jax.training.trainer import Snapshot, train

LEAST_FIT = 0.05
"""Of its labels' variance or directions a guided student explains at least so much at some time, with some setting."""
SMOOTHING = 5
"""Iterations whose fits are averaged: each is that of one minibatch, in which few rows may have a label."""


class _Seen(Exception):
    """Ends a run after its first iteration."""


def without_effect(config: Config, teacher: Any) -> list[str]:
    """The variants of PPO whose distillation terms change nothing: after an iteration they equal their twins without.

    Args:
      config: of the run, of which one iteration with the first seed is made, in a temporary directory.
      teacher: as `train` takes it.
    """
    specs = [spec for spec in resolve_variants(config) if guided(spec) and spec.algorithm == "ppo"]
    if not specs:
        return []
    config = copy.deepcopy(config)
    twins = [dataclasses.replace(spec, name=f"{spec.name} without", terms={}, phases=()) for spec in specs]
    config.variants, config.seeds = (*specs, *twins), config.seeds[:1]
    config.eval.every, config.run.iterations_per_call, config.run.checkpoint_every = 0, 1, 0
    params: list[Any] = []

    def look(snapshot: Snapshot) -> None:
        params.append(jax.device_get(snapshot.members.params))
        raise _Seen

    with contextlib.suppress(_Seen):
        train(config, teacher, directory=None, callbacks=[look])

    def same(index: int) -> bool:
        return all(np.array_equal(x[index], x[index + len(specs)]) for x in jax.tree.leaves(params[0]))

    return [spec.name for index, spec in enumerate(specs) if same(index)]


def best_fit(run: Path, names: list[str]) -> float | None:
    """How well any of these variants follows its labels at any time, in values or in directions; None: not known.

    Either will do: how long actions are is the reward's business as well, and a gripper has no direction.
    """
    prefixes = tuple(f"update/{metric}/{name}/" for metric in ("label_fit", "direction_fit") for name in names)
    curves: dict[str, list[float]] = {}
    for row in read_metrics(run / METRICS_FILE):
        for key, value in row.items():
            if key.startswith(prefixes) and value is not None and np.isfinite(value):
                curves.setdefault(key, []).append(value)
    found = [curve[begin : begin + SMOOTHING] for curve in curves.values() for begin in range(0, len(curve), SMOOTHING)]
    return max((float(np.mean(each)) for each in found), default=None)


def unrelated_labels(experiment: Experiment, run: Path, tuning: bool) -> list[str]:
    """The arms whose students explain less than `LEAST_FIT` of their labels, whatever their setting.

    Args:
      run: the directory of a case's tuning run, or of its final one.
    """
    found = []
    for arm in experiment.arms:
        names = [arm.label(index) for index in range(len(arm.settings))] if tuning else [arm.name]
        fit = best_fit(run, names) if _follows_actions(arm) else None
        if fit is not None and fit < LEAST_FIT:
            found.append(
                f"{arm.name}: its students explain {max(fit, 0.0):.2f} of their labels' variance or directions at "
                "best: the labels do not belong to the states, or pull too weakly to matter"
            )
    return found


def _follows_actions(arm: Arm) -> bool:
    """Whether any term of it compares whole actions, as a square does, or the way they point."""
    names = {name for setting in arm.settings for name in parse_variant(setting).terms}
    return "direction" in names or any(TERMS[name].reduction != "fixed" for name in names)
