"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rpd_jax.algorithms.base import MemberState
from rpd_jax.policies.base import Params
from rpd_jax.report.table import Table
from rpd_jax.runs.metrics import METRICS_FILE, read_metrics
from rpd_jax.training.population import Population
from rpd_jax.training.student import Student, chosen_student


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    members: MemberState  # leaves [P, ...], in the order of `population.members`; of several processes, this one's
    population: Population
    table: Table  # one row for the teacher and one per variant; empty if interrupted
    directory: Path | None  # None: nothing was kept on disk, or another process wrote it
    signal: int | None  # that stopped the run; `resume=True` goes on
    diverged: Mapping[str, int]  # members "variant/seed" that stopped learning -> iteration
    rows: tuple[dict[str, float], ...] = ()  # the log, where there is no directory

    @property
    def params(self) -> Params:
        """Leaves [P, ...]."""
        return self.members.params

    def student(self, variant: str = "", seed: int | None = None) -> Student:
        """One member, which acts: `result.student("rpd-mse", seed=0).act({"state": state})`.

        Args:
          variant: its name; empty: the only one.
          seed: None: the only one.

        Raises:
          ConfigError: no such variant or seed, or there are several and none is named.
        """
        return chosen_student(self.population, self.members, variant, seed)

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped the run before its end."""
        return self.signal is not None

    @property
    def history(self) -> list[dict[str, float]]:
        """One row of metrics per iteration, read from the run's log."""
        return list(self.rows) if self.directory is None else read_metrics(self.directory / METRICS_FILE)
