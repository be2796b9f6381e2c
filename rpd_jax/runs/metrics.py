"""Where a run's scalar metrics go: a JSON-lines file always, TensorBoard and Weights & Biases on request."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rpd_jax.runs.metrics_log import METRICS_FILE as METRICS_FILE
from rpd_jax.runs.metrics_log import JsonlWriter as JsonlWriter
from rpd_jax.runs.metrics_log import read_metrics as read_metrics
from rpd_jax.runs.series import About, Outcome
from rpd_jax.runs.tensorboard import TensorBoardWriter
from rpd_jax.runs.wandb_runs import WANDB_DIRECTORY as WANDB_DIRECTORY
from rpd_jax.runs.wandb_runs import WandbWriter

TENSORBOARD_DIRECTORY = "tensorboard"


class MetricWriter(Protocol):
    """Takes a row of metrics per step."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records metrics at `step`, environment steps per member."""
        ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Tool(MetricWriter, Protocol):
    """Another tool's writer, which can follow a run that goes back to a checkpoint."""

    def finish(self, step: int, outcome: Outcome) -> None:
        """Shows what a run that reached its end, at `step`, has come to."""
        ...

    def rewind(self, step: int) -> None:
        """Forgets, as well as the backend can, what was written after `step`; the run goes on from there."""
        ...


class MultiWriter:
    """Writes to a JSON-lines log, which can be cut back exactly, and to any others."""

    def __init__(self, log: JsonlWriter, others: Sequence[Tool] = ()) -> None:
        self._log, self._others = log, tuple(others)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        for writer in (self._log, *self._others):
            writer.write(step, metrics)

    def write_beside(self, step: int, metrics: Mapping[str, float]) -> None:
        """Gives the others what is no row of the log, whose rows are iterations: an evaluation before the first."""
        for writer in self._others:
            writer.write(step, metrics)

    def finish(self, step: int, outcome: Outcome) -> None:
        """Gives the others the outcome; the log stays as it is."""
        for writer in self._others:
            writer.finish(step, outcome)

    def position(self) -> int:
        """Where the log stands: what a checkpoint stores for `truncate`."""
        return self._log.position()

    def truncate(self, position: int, last_step: int | None = None) -> None:
        """Goes back to an earlier `position`, when a run is resumed; the other writers follow.

        `last_step` is the checkpoint's: rows that the log has lost do not make the others forget theirs.
        """
        last_step = self._log.truncate(position, last_step)
        for writer in self._others:
            writer.rewind(last_step)

    def flush(self) -> None:
        """Hands every row so far to the operating system: nothing before a checkpoint is lost with the process."""
        for writer in (self._log, *self._others):
            writer.flush()

    def close(self) -> None:
        """Closes every writer, also when one of them fails."""
        with contextlib.ExitStack() as stack:
            for writer in (self._log, *self._others):
                stack.callback(writer.close)


def make_writers(
    directory: Path | str, tensorboard: bool = True, wandb_project: str = "", about: About | None = None
) -> MultiWriter:
    """Opens the writers of a run directory, which must exist; rows are added to what is there.

    `about`: the run, as TensorBoard and W&B are to show it.
    """
    directory = Path(directory)
    about = about or About(directory.absolute().name)
    others: list[Tool] = []
    if tensorboard:
        others.append(TensorBoardWriter(directory / TENSORBOARD_DIRECTORY, about))
    if wandb_project:
        others.append(WandbWriter(directory, wandb_project, about))
    return MultiWriter(JsonlWriter(directory / METRICS_FILE), others)
