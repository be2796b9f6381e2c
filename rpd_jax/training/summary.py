"""Run summary: flat metrics, learning curve, table, pictures and videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.algorithms.variants import resolved
from rpd_jax.config import Config
from rpd_jax.envs.base import EnvSpec
from rpd_jax.report.gif import write_gif
from rpd_jax.report.intervals import success_rates
from rpd_jax.report.plots import Curve, Mark, TeacherLevel, learning_curves
from rpd_jax.report.results import (
    CALLS_FILE,
    CURVES_FILE,
    GIF_FILE,
    POINTS_FILE,
    RESULTS_FILE,
    TABLE_FILE,
    TEACHER_PREFIX,
    VIDEO_FILE,
    ResultRow,
    write_results,
)
from rpd_jax.report.styles import look, styles
from rpd_jax.report.table import Table, results_table
from rpd_jax.report.video import Clip, Column, write_grid
from rpd_jax.runs.files import atomic_path, write_json
from rpd_jax.training.assessment import Assessment
from rpd_jax.training.evaluation import Episodes, Film, concatenate
from rpd_jax.training.population import Population
from rpd_jax.types import TeacherSpec


class CurvePoint(NamedTuple):
    """One member's evaluation at one point of training."""

    variant: str
    seed: int
    env_steps: int  # per member
    episodes: int
    success_once: float
    success_at_end: float
    episode_return: float
    labels: int = 0  # teacher queries so far

    def metrics(self) -> dict[str, float]:
        return {
            "success_once": self.success_once,
            "success_at_end": self.success_at_end,
            "return": self.episode_return,
        }


def curve_points(
    population: Population, env_steps: int, labels: Sequence[int], episodes: Sequence[Episodes]
) -> list[CurvePoint]:
    """Summaries of every member's episodes, after so many steps and labels of each."""
    return [
        CurvePoint(
            variant=member.variant.name,
            seed=member.seed,
            env_steps=env_steps,
            episodes=len(e.returns),
            success_once=float(e.success_once.mean()),
            success_at_end=float(e.success_at_end.mean()),
            episode_return=float(e.returns.mean()),
            labels=asked,
        )
        for member, asked, e in zip(population.members, labels, episodes, strict=True)
    ]


def curves(points: Sequence[Mapping[str, Any]], x: str, numbers: Mapping[str, int] | None = None) -> list[Curve]:
    """A curve of success_once for each variant, over the evaluations that all its seeds have, with their episodes.

    Args:
      points: `CurvePoint`s as curves.json has them.
      x: the field that curves run over; it is averaged over seeds.
      numbers: variant -> style; None: by their places.
    """
    found = []
    for variant in dict.fromkeys(point["variant"] for point in points):
        mine = {(point["seed"], point["env_steps"]): point for point in points if point["variant"] == variant}
        seeds = sorted({seed for seed, _ in mine})
        steps = [step for step in sorted({step for _, step in mine}) if all((seed, step) in mine for seed in seeds)]
        where = np.array([np.mean([mine[seed, step][x] for seed in seeds]) for step in steps])
        values = np.array([[mine[seed, step]["success_once"] for step in steps] for seed in seeds])
        episodes = np.array([[mine[seed, step]["episodes"] for step in steps] for seed in seeds])
        found.append(Curve(variant, where, values, numbers[variant] if numbers else None, episodes=episodes))
    return found


def by_member(metrics: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Turns metrics of arrays [P] into a row for each member."""
    num_members = len(next(iter(metrics.values())))
    return [{name: float(values[p]) for name, values in metrics.items()} for p in range(num_members)]


def flatten(group: str, population: Population, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Names each member's metrics "group/metric/variant/seed"."""
    return {
        f"{group}/{metric}/{member.variant.name}/{member.seed}": value
        for member, row in zip(population.members, rows, strict=True)
        for metric, value in row.items()
    }


def headline(population: Population, metrics: Mapping[str, float], group: str) -> dict[str, float]:
    """Each variant's success_once among metrics of that group, averaged over seeds; absent where no episode ended."""
    line = {}
    for spec in population.specs:
        names = [f"{group}/success_once/{spec.name}/{seed}" for seed in population.config.seeds]
        values = [metrics[name] for name in names if name in metrics]
        if values:
            line[spec.name] = float(np.mean(values))
    return line


class Cost(NamedTuple):
    """What the members of a run were trained with."""

    env_steps: int  # per member
    labels: Sequence[int]  # transitions that the teacher labelled for each member
    seconds: float  # of the whole population


def rows(env: str, population: Population, assessment: Assessment, cost: Cost, notes: Mapping[str, str]) -> Table:
    """The table: the teacher first, then every variant over its seeds.

    Intervals are of success_once, see `report.intervals.success_rates`; a teacher's is over its episodes.
    """
    table, protocol = Table(), protocol_note(population.spec) if population.spec.versions else ""
    if assessment.teacher is not None and assessment.teacher_spec is not None:
        note = population.config.teacher.acting.note
        name = assessment.teacher_spec.name
        remark = notes.get(TEACHER_PREFIX + name, "")
        table.append(teacher_row(env, name, assessment.teacher, remark, note, protocol))
    for spec in population.specs:
        mine = [i for i, member in enumerate(population.members) if member.variant.name == spec.name]
        theirs = cost._replace(labels=[cost.labels[i] for i in mine])
        made = row(env, spec.name, [assessment.students[i] for i in mine], len(mine), theirs)
        table.append(dataclasses.replace(made, note=_joined(notes.get(spec.name, ""), protocol)))
    return table


def teacher_row(env: str, name: str, episodes: Episodes, *notes: str) -> ResultRow:
    """A teacher's row of the table, with notes on how it acted and on the protocol."""
    made = row(env, TEACHER_PREFIX + name, [episodes], seeds=0, cost=Cost(0, [], 0.0))
    return dataclasses.replace(made, note=_joined(*notes))


def _joined(*notes: str) -> str:
    return ", ".join(filter(None, notes))


def protocol_note(spec: EnvSpec) -> str:
    """What results depend on: the steps of an episode, and the simulator's version."""
    versions = [f"{name} {spec.versions[name]}" for name in ("mujoco",) if name in spec.versions]
    return ", ".join([f"at most {spec.max_episode_steps} steps", *versions])


def write(
    directory: Path,
    config: Config,
    table: Sequence[ResultRow],
    curve: Sequence[CurvePoint],
    films: Mapping[str, Sequence[Film]],
    teacher: TeacherSpec | None = None,
    checkpoint: str = "",
    marks: Mapping[str, Sequence[Mark]] | None = None,
) -> None:
    """Writes results.json and table.md; curves.json, curves.png and calls.png where there are points.

    Of films it makes episodes.mp4 and, of the best variant beside the teacher, episodes.gif.

    `checkpoint`: digest of the teacher's, where its specification is not given. `marks`: alarms of each variant, over
    environment steps.
    """
    checkpoint = teacher.checkpoint if teacher else checkpoint
    write_results(directory / RESULTS_FILE, table, resolved(config).to_dict(), checkpoint)
    with atomic_path(directory / TABLE_FILE) as path:
        path.write_text(results_table(table, markdown=True) + "\n")
    teachers = [row for row in table if row.is_teacher]
    level = None
    if teachers:
        level = TeacherLevel(teachers[0].teacher_label, teachers[0].success_once, teachers[0].low, teachers[0].high)
    numbers = styles(row.variant for row in table if not row.is_teacher)
    if curve:
        points = [point._asdict() for point in curve]
        write_json(directory / POINTS_FILE, points)
        ylabel = "success rate (once in an episode, deterministic)"
        frame: dict[str, Any] = {"teacher": level, "title": config.env.name, "ylabel": ylabel}
        alarms = marks or {}
        found = curves(points, "env_steps", numbers)
        drawn = [curve._replace(marks=alarms.get(curve.variant, ())) for curve in found]
        learning_curves(directory / CURVES_FILE, drawn, **frame)
        asked = [point for point in points if point["labels"] > 0]
        if asked:
            xlabel = "teacher queries per member"
            by_calls = curves(asked, "labels", numbers)
            learning_curves(directory / CALLS_FILE, by_calls, xlabel=xlabel, logarithmic=True, **frame)
    if films:
        columns = [
            Column(name, [Clip(*film) for film in shown], look(numbers[name]).colour if name in numbers else "white")
            for name, shown in films.items()
        ]
        write_grid(directory / VIDEO_FILE, columns)
        filmed = sorted((row for row in table if row.variant in films), key=lambda row: row.success_once)
        others = {row.variant for row in filmed[:-1]}
        write_gif(directory / GIF_FILE, [column for column in columns if column.caption not in others])


def row(env: str, variant: str, episodes: Sequence[Episodes], seeds: int, cost: Cost) -> ResultRow:
    """A policy's row, of the episodes of each of its seeds; a teacher has none."""
    pooled = concatenate(episodes)
    band = success_rates([[e.success_once.sum() for e in episodes]], [[len(e.success_once) for e in episodes]])
    return ResultRow(
        env=env,
        variant=variant,
        seeds=seeds,
        env_steps=cost.env_steps,
        teacher_calls=sum(cost.labels),
        success_once=float(pooled.success_once.mean()),
        success_at_end=float(pooled.success_at_end.mean()),
        low=float(band.low[0]),
        high=float(band.high[0]),
        interval=band.kind,
        episode_return=float(pooled.returns.mean()),
        seconds=cost.seconds,
    )
