"""Pictures of a comparison: learning curves of every case, success over coefficient, performance profiles."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from rpd_jax.algorithms.variants import parse_variant
from rpd_jax.comparison.aggregates import performance_profile
from rpd_jax.comparison.experiment import Arm, Experiment
from rpd_jax.comparison.outcome import CaseOutcome
from rpd_jax.report.plots import Curve, draw_curve
from rpd_jax.report.styles import DPI, Look, look, styles
from rpd_jax.runs.files import atomic_path

Style = dict[str, Look]
"""Of each arm."""
CURVES, SENSITIVITY, PROFILE = "curves.png", "sensitivity.png", "profile.png"
FILES = (CURVES, SENSITIVITY, PROFILE)
LABEL = 1.8  # inches that a legend's entry takes, so that none is cut off


def draw(directory: Path, experiment: Experiment, outcomes: Sequence[CaseOutcome]) -> dict[str, str]:
    """Writes the pictures that there is something for; returns their names and what they show."""
    numbers = styles(arm.name for arm in experiment.arms)
    style = {name: look(number) for name, number in numbers.items()}
    shown = {CURVES: "success over environment steps"}
    _panels(directory / CURVES, outcomes, functools.partial(_curves, numbers))
    if any(_coefficients(arm) for arm in experiment.arms):
        shown[SENSITIVITY] = (
            "success in tuning over the coefficient: with the best of the other choices, thin: on average"
        )
        _panels(directory / SENSITIVITY, outcomes, functools.partial(_sensitivity, experiment, style))
    if len(outcomes) > 1:
        shown[PROFILE] = "performance profiles over all cases and seeds"
        _profile(directory / PROFILE, experiment, outcomes, style)
    return shown


def _panels(path: Path, outcomes: Sequence[CaseOutcome], draw_one: Callable[[Axes, CaseOutcome], None]) -> None:
    """One panel for each case, with one legend."""
    columns = min(len(outcomes), 4)
    rows = math.ceil(len(outcomes) / columns)
    width = max(3.2 * columns, 5.5)
    figure = Figure(figsize=(width, 2.9 * rows + 0.6), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(outcomes):
            axes.set_visible(False)
            continue
        draw_one(axes, outcomes[index])
        axes.set_title(outcomes[index].case.name, fontsize=10)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("success rate")
    lines = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = min(len(lines), int(width / LABEL))
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=columns, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def _curves(numbers: Mapping[str, int], axes: Axes, outcome: CaseOutcome) -> None:
    for name, arm in outcome.arms.items():
        draw_curve(axes, Curve(name, arm.steps, arm.curve, episodes=arm.episodes), numbers[name])
    if outcome.teacher is not None:
        axes.axhline(
            outcome.teacher.success_once,
            color="black",
            linestyle=":" if outcome.teacher.is_scripted else "--",
            linewidth=1.2,
            label=outcome.teacher.teacher_label,
        )
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps")


def _coefficients(arm: Arm) -> list[float]:
    """The coefficient of each setting's first term; empty where there is none, or but one."""
    found = [next(iter(parse_variant(setting).terms.values()), math.nan) for setting in arm.settings]
    return found if len({each for each in found if each > 0}) > 1 else []


def _sensitivity(experiment: Experiment, style: Style, axes: Axes, outcome: CaseOutcome) -> None:
    """Over each arm's coefficient, relative to its largest: the mean over its other choices, and the best of them."""
    for arm in experiment.arms:
        colour, marker, _ = style[arm.name]
        final = np.array([curve[:, -1].mean() for curve in outcome.arms[arm.name].tuning])
        found = np.array(_coefficients(arm))
        if len(found) == 0:
            axes.axhline(final.max(), color=colour, linewidth=1.2, linestyle=":", label=arm.name)
            continue
        values = np.unique(found)
        mean, best = (np.array([figure(final[found == v]) for v in values]) for figure in (np.mean, np.max))
        x = values / values.max()
        axes.plot(x, best, color=colour, marker=marker, markersize=4, linewidth=1.5, label=arm.name)
        axes.plot(x, mean, color=colour, linewidth=1.0, alpha=0.5)
    axes.set_xscale("log")
    # Matplotlib's own labels of less than a decade, 3 x 10^-1 and 4 x 10^-1, run into each other.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("coefficient / its largest")


def _profile(path: Path, experiment: Experiment, outcomes: Sequence[CaseOutcome], style: Style) -> None:
    figure = Figure(figsize=(5.5, 3.6), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    levels = np.linspace(0, 1, 101)
    for arm in experiment.arms:
        found = np.stack([outcome.arms[arm.name].scores for outcome in outcomes])
        axes.plot(levels, performance_profile(found, levels), color=style[arm.name].colour, label=arm.name)
    axes.set_xlabel("success rate")
    axes.set_ylabel("share of runs above it")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
