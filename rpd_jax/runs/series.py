"""A run as other tools show it: one series of metrics per member, with the same names in all, and means of variants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.report.intervals import band

Series = dict[str, dict[str, float]]
"""Name of a series -> metric -> value."""
WHOLE = ""
"""The series of what concerns all members, or of a run without any."""


class Learner(NamedTuple):
    """A member of a run."""

    variant: str
    seed: int
    settings: Mapping[str, Any] = {}  # of its variant, values that JSON knows

    @property
    def series(self) -> str:
        """Its name in other tools, and its directory below TensorBoard's."""
        return f"{_file_name(self.variant)}/seed-{self.seed}"


class About(NamedTuple):
    """What other tools are told of a run beside its metrics."""

    name: str = ""
    config: Mapping[str, Any] = {}  # values that JSON knows
    learners: tuple[Learner, ...] = ()  # empty: a run that has no members, such as a fine-tuning
    tags: tuple[str, ...] = ()
    episodes: int = 0  # of each member behind a point of its learning curve


class Outcome(NamedTuple):
    """What other tools are told at the end of a run."""

    metrics: Mapping[str, float] = {}  # of the last evaluation, named as in a row
    episodes: int = 0  # of each member behind them
    table: str = ""  # Markdown
    files: tuple[Path, ...] = ()  # pictures and videos


def by_learner(learners: Sequence[Learner], metrics: Mapping[str, float]) -> Series:
    """The finite values of a row by members; "group/metric/variant/seed" is "group/metric" of a member's series."""
    owners = {f"{learner.variant}/{learner.seed}": learner.series for learner in learners}
    found: Series = {}
    for name, value in metrics.items():
        group, _, rest = name.partition("/")
        metric, _, member = rest.partition("/")
        owner = owners.get(member)
        if math.isfinite(value):
            series = found.setdefault(WHOLE if owner is None else owner, {})
            series[name if owner is None else f"{group}/{metric}"] = float(value)
    return found


def by_variant(learners: Sequence[Learner], members: Series, episodes: int = 0) -> Series:
    """Series "VARIANT/mean", "VARIANT/low" and "VARIANT/high" of the variants with several seeds.

    Args:
      learners: of the run.
      members: their series, see `by_learner`; a metric that one of a variant's seeds lacks is left out.
      episodes: of each member behind success rates of an evaluation; other intervals are Student's, see `band`.
    """
    found: Series = {}
    for variant in dict.fromkeys(learner.variant for learner in learners):
        seeds = [members.get(learner.series, {}) for learner in learners if learner.variant == variant]
        names = [name for name in seeds[0] if all(name in seed for seed in seeds)]
        if len(seeds) < 2 or not names:
            continue
        values = np.array([[seed[name] for name in names] for seed in seeds])
        low, high = band(values)
        rated = [i for i, name in enumerate(names) if episodes and name.startswith("eval/success_")]
        if rated:
            low[rated], high[rated] = band(values[:, rated], np.full((len(seeds), len(rated)), episodes))
        for kind, ends in (("mean", values.mean(0)), ("low", low), ("high", high)):
            found[f"{_file_name(variant)}/{kind}"] = dict(zip(names, ends.tolist(), strict=True))
    return found


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as "section.field" -> value."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _file_name(variant: str) -> str:
    """A variant's name without what would lead elsewhere in a path."""
    return variant.replace("/", "_").lstrip(".") or "_"
