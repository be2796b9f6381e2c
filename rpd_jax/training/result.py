"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rpd_jax.algorithms.base import MemberState
from rpd_jax.policies.base import Params
from rpd_jax.report.results import ResultRow
from rpd_jax.runs.metrics import METRICS_FILE, read_metrics
from rpd_jax.training.population import Population


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    members: MemberState  # leaves [P, ...], in the order of `population.members`
    population: Population
    table: list[ResultRow]  # one row for the teacher and one per variant; empty if interrupted
    directory: Path | None  # None: nothing was kept on disk
    signal: int | None  # that stopped the run; `resume=True` goes on
    diverged: Mapping[str, int]  # members "variant/seed" that stopped learning -> iteration
    rows: tuple[dict[str, float], ...] = ()  # the log, where there is no directory

    @property
    def params(self) -> Params:
        """Leaves [P, ...]."""
        return self.members.params

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped the run before its end."""
        return self.signal is not None

    @property
    def history(self) -> list[dict[str, float]]:
        """One row of metrics per iteration, read from the run's log."""
        return list(self.rows) if self.directory is None else read_metrics(self.directory / METRICS_FILE)
