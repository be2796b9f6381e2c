"""What came of a comparison, read from the directories of its runs: nothing is known that is not on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.comparison.experiment import Case, Experiment
from rpd_jax.comparison.selection import is_rising, remarks, select
from rpd_jax.report.intervals import success_rates
from rpd_jax.report.results import POINTS_FILE, RESULTS_FILE, ResultRow, read_results
from rpd_jax.runs.files import read_list
from rpd_jax.training import summary

TUNING, FINAL = "tuning", "final-{steps}"
"""Directories of a case's runs."""


@dataclasses.dataclass(frozen=True)
class ArmOutcome:
    """One arm in one case."""

    setting: str  # the one chosen
    curve: np.ndarray  # [S, K] success rates while it trained; the last are its final figures
    steps: np.ndarray  # [K], environment steps a member
    queries: np.ndarray  # [K], of the teacher, a member's mean
    episodes: np.ndarray  # [S, K] behind each rate
    note: str
    tuning: tuple[np.ndarray, ...]  # of each setting [S', K'], empty where there was nothing to choose

    @property
    def scores(self) -> np.ndarray:
        """Final success rates [S]."""
        return self.curve[:, -1]

    @property
    def interval(self) -> tuple[float, float]:
        """Of their mean, over seeds and episodes."""
        counts = self.episodes[None, :, -1]
        band = success_rates(np.rint(self.scores[None] * counts), counts)
        return float(band.low[0]), float(band.high[0])

    @property
    def rising(self) -> bool:
        """Whether the curve still rose when training ended."""
        return is_rising(self.curve)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know before the figures are believed."""
        tuned = [curve[:, -1].tolist() for curve in self.tuning]
        return [*remarks(self.scores.tolist(), self.rising, tuned), *filter(None, [self.note])]


@dataclasses.dataclass(frozen=True)
class CaseOutcome:
    """One case: its arms by name, and its teacher where there was one."""

    case: Case
    steps: int  # of the final runs
    arms: Mapping[str, ArmOutcome]
    teacher: ResultRow | None
    seconds: Mapping[str, float]  # of each run, by the name of its directory


def chosen_settings(experiment: Experiment, folder: Path) -> dict[str, int]:
    """The setting of each arm that `selection.RULE` takes, by the tuning run in a case's folder."""
    if not experiment.tuned:
        return {arm.name: 0 for arm in experiment.arms}
    curves = curves_of(folder / TUNING)
    return {a.name: select([curves[a.label(i)].values for i in range(len(a.settings))]) for a in experiment.arms}


def curves_of(run: Path, x: str = "env_steps") -> dict[str, Any]:
    """The learning curves of a finished run by variant; the point before training, nobody's merit, is left out."""
    points = [point for point in read_list(run / POINTS_FILE) if point["env_steps"] > 0]
    return {curve.variant: curve for curve in summary.curves(points, x)}


def is_still_rising(run: Path) -> bool:
    """Whether any arm's curve rises at the end of a final run."""
    return any(is_rising(curve.values) for curve in curves_of(run).values())


def read_case(experiment: Experiment, case: Case, root: Path) -> CaseOutcome | None:
    """The outcome of a case; None where its runs are not all done."""
    folder = root / case.name
    done = [steps for steps in experiment.budgets if (folder / FINAL.format(steps=steps) / RESULTS_FILE).is_file()]
    if not done or (experiment.tuned and not (folder / TUNING / RESULTS_FILE).is_file()):
        return None
    run = folder / FINAL.format(steps=done[-1])
    if done[-1] != experiment.budgets[-1] and is_still_rising(run):
        return None
    chosen = chosen_settings(experiment, folder)
    tuning = curves_of(folder / TUNING) if experiment.tuned else {}
    curves, queries = curves_of(run), curves_of(run, "labels")
    rows = {row.variant: row for row in read_results(run / RESULTS_FILE).rows}
    arms = {
        arm.name: ArmOutcome(
            setting=arm.settings[chosen[arm.name]],
            curve=curves[arm.name].values,
            steps=curves[arm.name].x,
            queries=queries[arm.name].x,
            episodes=curves[arm.name].episodes,
            note=rows[arm.name].note,
            tuning=tuple(tuning[arm.label(i)].values for i in range(len(arm.settings)) if tuning),
        )
        for arm in experiment.arms
    }
    runs = ([TUNING] if experiment.tuned else []) + [FINAL.format(steps=steps) for steps in done]
    seconds = {name: max(row.seconds for row in read_results(folder / name / RESULTS_FILE).rows) for name in runs}
    return CaseOutcome(case, done[-1], arms, next((r for r in rows.values() if r.is_teacher), None), seconds)


def scores(outcomes: Sequence[CaseOutcome]) -> dict[str, dict[str, np.ndarray]]:
    """Final success rates [S] by case and arm."""
    return {o.case.name: {name: arm.scores for name, arm in o.arms.items()} for o in outcomes}
