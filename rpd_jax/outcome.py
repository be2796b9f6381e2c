"""What a run shows for itself: flat metrics, learning curve, table, pictures and videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from rpd_jax.config import Config
from rpd_jax.evaluation import Episodes, Evaluator, Film
from rpd_jax.guidance.labels import Ledger
from rpd_jax.population import Population
from rpd_jax.report.intervals import bootstrap, wilson
from rpd_jax.report.results import ResultRow
from rpd_jax.types import Teacher
from rpd_jax.update import MemberState


class CurvePoint(NamedTuple):
    """One member's evaluation at one point of training."""

    variant: str
    seed: int
    env_steps: int  # per member
    episodes: int
    success_once: float
    success_at_end: float
    episode_return: float

    def metrics(self) -> dict[str, float]:
        return {
            "success_once": self.success_once,
            "success_at_end": self.success_at_end,
            "return": self.episode_return,
        }


def curve_points(population: Population, env_steps: int, episodes: Sequence[Episodes]) -> list[CurvePoint]:
    """Summaries of every member's episodes."""
    return [
        CurvePoint(
            variant=member.variant.name,
            seed=member.seed,
            env_steps=env_steps,
            episodes=len(e.returns),
            success_once=float(e.success_once.mean()),
            success_at_end=float(e.success_at_end.mean()),
            episode_return=float(e.returns.mean()),
        )
        for member, e in zip(population.members, episodes, strict=True)
    ]


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


def headline(population: Population, metrics: Mapping[str, float]) -> dict[str, float]:
    """Each variant's training success (episodes that ended in this iteration), averaged over seeds."""
    line = {}
    for spec in population.specs:
        prefix = f"train/success_once/{spec.name}/"
        values = [value for name, value in metrics.items() if name.startswith(prefix)]
        if values:
            line[spec.name] = float(np.mean(values))
    return line
