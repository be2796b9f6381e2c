"""A picture of what an algorithm's metrics did while a run trained, beside its learning curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rpd_jax.report.plots import Curve, panels
from rpd_jax.report.results import DIAGNOSTICS_FILE
from rpd_jax.report.styles import styles
from rpd_jax.runs.metrics import METRICS_FILE
from rpd_jax.runs.metrics_log import read_metrics
from rpd_jax.training.alarms import Alarms
from rpd_jax.training.population import Population

POINTS = 200  # of a curve at most: of longer runs every n-th iteration is drawn


def draw(directory: Path, population: Population, alarms: Alarms) -> None:
    """Writes diagnostics.png of a run, of the metrics in `Algorithm.pictured` that change; nothing where none does."""
    pictured = population.algorithm.pictured
    rows = read_metrics(directory / METRICS_FILE) if pictured else []
    config = population.config
    steps = config.algorithm.iteration_steps(config.env.num_envs)
    chosen = np.arange(0, len(rows), max(1, len(rows) // POINTS))
    found = {}
    numbers = styles([spec.name for spec in population.specs])
    for metric, label in pictured.items():
        curves = []
        marks = alarms.marks(lambda iterations: iterations * steps, metric)
        for spec in population.specs:
            names = [f"update/{metric}/{spec.name}/{seed}" for seed in config.seeds]
            values = np.array([[rows[row].get(name, np.nan) for row in chosen] for name in names])
            known = np.isfinite(values).all(axis=0)
            if known.any():
                x = (chosen[known] + 1) * steps
                curves.append(Curve(spec.name, x, values[:, known], numbers[spec.name], marks=marks[spec.name]))
        if any(np.ptp(curve.values) > 0 for curve in curves):  # what stays as it is says nothing
            found[label] = curves
    if found:
        panels(directory / DIAGNOSTICS_FILE, found, title=config.env.name)
