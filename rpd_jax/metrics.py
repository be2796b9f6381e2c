"""Where a run's scalar metrics go: a JSON-lines file always, TensorBoard and Weights & Biases on request."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TextIO

from absl import logging

from rpd_jax.config import ConfigError

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_DIRECTORY = "tensorboard"


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


class JsonlWriter:
    """One JSON object per line, `{"step": 6400, name: value, ...}`; NaN and infinities become null."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = self.path.open("ab")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        if "step" in metrics:
            raise ValueError('metrics has the name "step", which is taken: name the metric otherwise')
        row = {"step": int(step)} | {name: _finite_or_none(value) for name, value in metrics.items()}
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def position(self) -> int:
        """Bytes written so far: what a checkpoint stores for `truncate`."""
        return self._file.tell()

    def truncate(self, position: int) -> int:
        """Cuts the file to its first `position` bytes; returns the last step that is left, or -1.

        Raises:
          ValueError: the file is shorter, or `position` is not the end of a line.
        """
        size = self._file.tell()
        if not 0 <= position <= size:
            raise ValueError(f"position={position} cannot be right: {self.path} has {size} bytes")
        last, end = -1, 0
        for row, end_of_row in self._rows():
            if end_of_row > position:
                break
            last, end = row["step"], end_of_row
        if end != position:
            raise ValueError(f"position={position} cannot be right: no line of {self.path} ends there")
        self._file.truncate(position)
        self._file.seek(position)
        return last

    def _rows(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Rows and the positions where they end; stops at a line that a crash left unfinished."""
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                end += len(line)
                if not line.endswith(b"\n"):
                    return
                yield json.loads(line), end

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path | str) -> list[dict[str, float]]:
    """The rows of a JSON-lines log, without their steps; null becomes NaN again."""
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return [
        {name: math.nan if value is None else value for name, value in row.items() if name != "step"} for row in rows
    ]


class TensorBoardWriter:
    """Scalars in TensorBoard's event files."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._module = _import_tensorboardx()
        self._writer: Any = None
        self._purge_step: int | None = None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = self._module.SummaryWriter(
                logdir=str(self._directory),
                purge_step=self._purge_step,
                filename_suffix="" if self._purge_step is None else f".from{self._purge_step}",
            )
        for name, value in metrics.items():
            self._writer.add_scalar(name, float(value), step)

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

    def truncate(self, position: int) -> None:
        """Goes back to an earlier `position`, when a run is resumed; the other writers follow."""
        last_step = self._log.truncate(position)
        for writer in self._others:
            writer.rewind(last_step)

    def flush(self) -> None:
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


class ProgressBar:
    """A tqdm bar on a terminal or in a notebook; elsewhere a log line every `interval` seconds, and one at the end.

    Args:
      total: units of the whole, those of earlier sessions included.
      initial: units done before.
      description: what is counted.
      interval: seconds between log lines.
      stream: where the bar would go; None is stderr.
      clock: gives seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        description: str = "",
        interval: float = 15.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._bar: Any = None
        if stream.isatty() or "ipykernel" in sys.modules:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=initial, desc=description, file=stream)
        self._total, self._initial, self._done = total, initial, initial
        self._description, self._interval, self._clock = description, interval, clock
        self._started = self._logged = clock()
        self._said = -1  # units done at the last log line
        self._text = ""

    def update(self, n: int = 1, metrics: Mapping[str, float] | None = None) -> None:
        """Counts `n` more units; `metrics` are shown beside them."""
        self._done += n
        self._text = "  ".join(f"{name} {value:.3g}" for name, value in (metrics or {}).items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._text, refresh=False)
            self._bar.update(n)
        elif self._clock() - self._logged >= self._interval:
            self._log()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._said != self._done:
            self._log()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _log(self) -> None:
        self._logged, self._said = self._clock(), self._done
        elapsed, gained = self._logged - self._started, self._done - self._initial
        left = f", {_duration(elapsed / gained * (self._total - self._done))} left" if gained else ""
        line = f"{self._description} {self._done}/{self._total}, {_duration(elapsed)}{left}  {self._text}"
        logging.info("%s", line.rstrip())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _finite_or_none(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def _import_tensorboardx() -> ModuleType:
    """Imports tensorboardX, but not the torch that it would bring along: the learner stays free of it."""
    if "torch" in sys.modules:
        return importlib.import_module("tensorboardX")
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes `import torch` raise ImportError
    try:
        return importlib.import_module("tensorboardX")
    finally:
        del sys.modules["torch"]
