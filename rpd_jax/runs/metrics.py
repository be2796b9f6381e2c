"""Where a run's scalar metrics go: a JSON-lines file always, TensorBoard and Weights & Biases on request."""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from rpd_jax.config import ConfigError
from rpd_jax.runs.metrics_log import METRICS_FILE as METRICS_FILE
from rpd_jax.runs.metrics_log import JsonlWriter as JsonlWriter
from rpd_jax.runs.metrics_log import read_metrics as read_metrics

TENSORBOARD_DIRECTORY, WANDB_DIRECTORY = "tensorboard", "wandb"  # W&B names its own


class MetricWriter(Protocol):
    """Takes a row of metrics per step."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Records metrics at `step`, environment steps per member."""
        ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Rewindable(MetricWriter, Protocol):
    """A writer that can follow a run which goes back to a checkpoint."""

    def rewind(self, step: int) -> None:
        """Forgets, as well as the backend can, what was written after `step`; the run goes on from there."""
        ...


class TensorBoardWriter:
    """Scalars in TensorBoard's event files."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._module = _import_tensorboardx()
        self._writer: Any = None
        self._purge_step: int | None = None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._writer is None:
            self._open()
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}  # NaN: not known
        values = [self._module.summary.scalar(name, value).value[0] for name, value in finite.items()]
        self._add(step=step, summary=self._module.proto.summary_pb2.Summary(value=values))

    def rewind(self, step: int) -> None:
        """TensorBoard hides the events of earlier files after `step` once a new file says so."""
        self.close()
        self._purge_step = step + 1

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> None:
        # Not through SummaryWriter, whose queue `flush` does not wait for: a kill would lose rows before a checkpoint.
        self._directory.mkdir(parents=True, exist_ok=True)
        suffix = "" if self._purge_step is None else f".from{self._purge_step}"
        self._writer = self._module.event_file_writer.EventsWriter(str(self._directory / "events"), suffix)
        if self._purge_step is not None:
            session_log = self._module.proto.event_pb2.SessionLog
            self._add(step=self._purge_step, session_log=session_log(status=session_log.START))

    def _add(self, **fields: Any) -> None:
        self._writer.write_event(self._module.proto.event_pb2.Event(wall_time=time.time(), **fields))


class WandbWriter:
    """Weights & Biases; the run takes the directory's name."""

    def __init__(self, directory: Path | str, project: str) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise ConfigError(
                f"run.wandb_project={project!r} needs wandb: pip install 'rpd_jax[wandb]', or leave it empty"
            ) from error
        self._run = wandb.init(project=project, name=Path(directory).name, dir=str(directory))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def rewind(self, step: int) -> None:
        """Does nothing: a resumed run is a new one there, which begins at its own step."""

    def flush(self) -> None: ...

    def close(self) -> None:
        self._run.finish()


class MultiWriter:
    """Writes to a JSON-lines log, which can be cut back exactly, and to any others."""

    def __init__(self, log: JsonlWriter, others: Sequence[Rewindable] = ()) -> None:
        self._log, self._others = log, tuple(others)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        for writer in (self._log, *self._others):
            writer.write(step, metrics)

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


def make_writers(directory: Path | str, tensorboard: bool = True, wandb_project: str = "") -> MultiWriter:
    """Opens the writers of a run directory, which must exist; rows are added to what is there."""
    directory = Path(directory)
    others: list[Rewindable] = []
    if tensorboard:
        others.append(TensorBoardWriter(directory / TENSORBOARD_DIRECTORY))
    if wandb_project:
        others.append(WandbWriter(directory, wandb_project))
    return MultiWriter(JsonlWriter(directory / METRICS_FILE), others)


def _import_tensorboardx() -> ModuleType:
    """Imports tensorboardX, but not the torch that it would bring along: the learner stays free of it."""
    if "torch" in sys.modules:
        return importlib.import_module("tensorboardX")
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` raise ImportError
    try:
        return importlib.import_module("tensorboardX")
    finally:
        del sys.modules["torch"]
