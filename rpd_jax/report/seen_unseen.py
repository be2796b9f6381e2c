"""What a student forgets of other tasks while it learns one: success on held-out tasks against the task trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rpd_jax.report.intervals import success_rates
from rpd_jax.report.styles import DPI, look, styles
from rpd_jax.runs.files import atomic_path


class Counted(NamedTuple):
    """A variant's successes at its checkpoints, the start first; arrays [S, K] of S seeds and K checkpoints."""

    seen: np.ndarray  # successes on the task that it learns
    seen_episodes: np.ndarray
    unseen: np.ndarray  # on held-out tasks, together
    unseen_episodes: np.ndarray


def draw_seen_unseen(path: Path | str, variants: Mapping[str, Counted], *, seen: str, unseen: Sequence[str]) -> None:
    """A path for each variant from the common start, drawn black, to its last checkpoint, with 95 % intervals there.

    Upwards is what training on one task gives to the others, downwards what they lose (VLA-OPD, arXiv 2603.26666:
    Figure 3). Points are means over seeds; intervals are `intervals.success_rates`'s.

    Args:
      path: of the png file, written atomically.
      variants: in the order of the legend.
      seen: name of the task trained on.
      unseen: names of the held-out ones.
    """
    figure = Figure(figsize=(5.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    numbers = styles(variants)
    for index, (name, counted) in enumerate(variants.items()):
        colour, marker, _ = look(numbers[name])
        x, y = (np.mean(a / b, axis=0) for a, b in (counted[:2], counted[2:]))
        axes.plot(x, y, color=colour, linewidth=1.2, alpha=0.6)
        axes.scatter(x[1:], y[1:], color=colour, marker=marker, s=np.linspace(14, 60, len(x) - 1), label=name)
        ends = [success_rates(a[:, -1:].T, b[:, -1:].T) for a, b in (counted[:2], counted[2:])]
        (left, right), (low, high) = ((each.low[0], each.high[0]) for each in ends)
        axes.plot([left, right], [y[-1]] * 2, color=colour, linewidth=0.8)
        axes.plot([x[-1]] * 2, [low, high], color=colour, linewidth=0.8)
        axes.scatter(x[:1], y[:1], color="black", marker="*", s=90, zorder=3, label=None if index else "start")
    axes.set_xlabel(f"success on {seen}, trained on")
    axes.set_ylabel(f"success on {', '.join(unseen)}, held out")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    seeds = {len(counted.seen) for counted in variants.values()}
    axes.set_title(f"seeds: {max(seeds)}; larger markers are later checkpoints", loc="right", fontsize=8, color="0.35")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
