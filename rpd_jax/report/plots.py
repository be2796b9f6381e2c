"""Learning curves as pictures, without pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullFormatter

from rpd_jax.report.intervals import band
from rpd_jax.report.styles import DPI, look
from rpd_jax.runs.files import atomic_path

ALARMS = "X*dhp8"  # markers of alarms, with a black edge


class Mark(NamedTuple):
    """Something that happened to a variant at a point of its curve."""

    x: float
    label: str  # what, e.g. the name of an alarm


class Curve(NamedTuple):
    """A variant's evaluations while it trained."""

    variant: str
    x: np.ndarray  # [K], environment steps per member unless said otherwise
    values: np.ndarray  # [S, K], one row per seed
    style: int | None = None  # which colour and marker, to be the same in several pictures; None: by its place
    episodes: np.ndarray | None = None  # [S, K] behind values that are success rates; None: other quantities
    marks: Sequence[Mark] = ()  # alarms, drawn on the mean


class TeacherLevel(NamedTuple):
    """What the teacher reaches by itself."""

    label: str  # "scripted teacher" for a scripted one
    value: float
    low: float
    high: float


def learning_curves(
    path: Path | str,
    curves: Sequence[Curve],
    *,
    teacher: TeacherLevel | None = None,
    title: str = "",
    xlabel: str = "environment steps per member",
    ylabel: str = "success rate",
    logarithmic: bool = False,
    rate: bool = True,
) -> None:
    """Draws the mean over seeds of each variant; shaded is its 95 % interval, with two seeds their range.

    Intervals of success rates are `success_rates`'s, over seeds and episodes; others are Student's, over seeds.

    Args:
      path: of the png file, written atomically.
      curves: in the order of the legend.
      teacher: a dashed line with its interval.
      title: above the plot, e.g. the environment's name.
      xlabel: what the curves run over.
      ylabel: what the values are.
      logarithmic: the axis of x is; its values must be positive.
      rate: the values are shares, the axis goes from 0 to 1.

    Raises:
      ValueError: a curve's arrays do not fit each other, or are empty.
    """
    labels = _labels(curves)
    lines = -(-(len(curves) + len(labels) + (teacher is not None)) // 3)  # of the legend, below the plot
    figure = Figure(figsize=(6.4, 4.2 + 0.3 * max(0, lines - 2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    seeds = set()
    for index, curve in enumerate(curves):
        seeds.add(len(draw_curve(axes, curve, index)))
        _mark(axes, curve, index, labels)
    if teacher is not None:
        axes.axhspan(teacher.low, teacher.high, color="black", alpha=0.10, linewidth=0)
        axes.axhline(teacher.value, color="black", linestyle="--", linewidth=1.5, label=teacher.label)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if logarithmic:
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="both", length=3.5)
        low, high = axes.get_xlim()
        axes.xaxis.set_minor_formatter(EngFormatter(sep="") if high < 10 * low else NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if rate:
        axes.set_ylim(-0.02, 1.02)
    if len(curves) > 0 and not logarithmic:
        axes.set_xlim(left=-0.015 * axes.get_xlim()[1])  # a marker at 0 is seen as a whole
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12)
    handles, names = axes.get_legend_handles_labels()
    handles += _handles(labels)
    names += [f"alarm: {label}" for label in labels]
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
    if seeds:
        axes.set_title(_note(seeds), loc="right", fontsize=9, color="0.35")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def panels(path: Path | str, curves: Mapping[str, Sequence[Curve]], *, title: str = "") -> None:
    """Draws several quantities side by side, each as `learning_curves` does, under one legend.

    Positive ones that span more than two decades have a logarithmic axis.

    Args:
      path: of the png file, written atomically.
      curves: by what they show; a variant has the same style in all.
      title: above the plots.
    """
    columns = min(3, len(curves))
    lines = -(-len(curves) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    legend: dict[str, Any] = {}
    labels = _labels([curve for shown in curves.values() for curve in shown])
    for number, (label, shown) in enumerate(curves.items()):
        axes = figure.add_subplot(lines, columns, number + 1)
        for index, curve in enumerate(shown):
            draw_curve(axes, curve, index, marked=False)
            _mark(axes, curve, index, labels)
        values = np.concatenate([np.ravel(curve.values) for curve in shown])
        if values.min() > 0 and values.max() > 100 * values.min():
            axes.set_yscale("log")
        axes.set_title(label, loc="left", fontsize=11)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        legend |= {name: handle for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    legend |= {f"alarm: {label}": handle for label, handle in zip(labels, _handles(labels), strict=True)}
    figure.suptitle(f"{title}, over environment steps per member", fontsize=12, x=0.01, ha="left")
    figure.legend(
        list(legend.values()),
        list(legend),
        loc="outside lower center",
        ncols=min(len(legend), 2 * columns),
        frameon=False,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def draw_curve(axes: Axes, curve: Curve, index: int, marked: bool = True) -> np.ndarray:
    """Draws the mean over seeds of a variant and its interval; returns the values [S, K] as they were drawn."""
    steps, values = np.asarray(curve.x), np.asarray(curve.values, np.float64)
    if values.ndim != 2 or values.shape[1] != len(steps) or values.size == 0:
        raise ValueError(f"values of {curve.variant!r} are {values.shape}: they must be [seeds, {len(steps)} steps]")
    colour, marker, dashed = look(index if curve.style is None else curve.style)
    if len(values) > 1:
        low, high = band(values, curve.episodes)
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        steps,
        values.mean(axis=0),
        color=colour,
        marker=marker if marked else None,
        linestyle="--" if dashed else "-",
        markersize=4,
        linewidth=1.8,
        label=curve.variant,
    )
    return values


def _labels(curves: Sequence[Curve]) -> list[str]:
    """What is marked in any of the curves."""
    return list(dict.fromkeys(mark.label for curve in curves for mark in curve.marks))


def _mark(axes: Axes, curve: Curve, index: int, labels: Sequence[str]) -> None:
    """Draws a curve's marks where they are on the mean over seeds."""
    colour = look(index if curve.style is None else curve.style).colour
    for mark in curve.marks:
        y = np.interp(mark.x, curve.x, np.mean(curve.values, axis=0))
        axes.plot([mark.x], [y], **_look(labels.index(mark.label), colour), zorder=5, clip_on=False)


def _handles(labels: Sequence[str]) -> list[Line2D]:
    """Of marks, in the legend."""
    return [Line2D([], [], **_look(index, "white")) for index in range(len(labels))]


def _look(index: int, colour: str) -> dict[str, Any]:
    marker = ALARMS[index % len(ALARMS)]
    edge = {"markeredgecolor": "black", "markeredgewidth": 0.9}
    return {"marker": marker, "markersize": 9, "markerfacecolor": colour, "linestyle": "none", **edge}


def _note(seeds: set[int]) -> str:
    if seeds == {1}:
        return "one seed"
    count = f"{min(seeds)}" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)}"
    if max(seeds) == 2:
        return f"mean of {count} seeds, shaded: their range"
    return f"mean of {count} seeds, shaded: 95 % interval" + (" (of 2 seeds: range)" if 2 in seeds else "")
