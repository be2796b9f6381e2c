"""A fine-tuning run between its first step and its last: its directory, the loop, rows of metrics."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from absl import logging

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.runs.interrupt import StopRequest
from rpd_jax.runs.metrics import METRICS_FILE, make_writers, read_metrics
from rpd_jax.runs.output_directory import Claim, Kind, check_path, refuse_difference
from rpd_jax.runs.progress import ProgressBar
from rpd_jax.runs.series import About
from teachers.finetuning.settings import KIND, RunSettings

MAY_CHANGE = ("steps", "log_every", "validate_every", "save_every", "keep_checkpoints", "tensorboard", "wandb_project")
"""Settings that a resumed run may have otherwise."""

Metrics = dict[str, Any]  # name -> scalar, perhaps an array on a device


class Diverged(ConfigError):
    """A loss or a gradient is no finite number any more; the message says since when, and which checkpoint is left."""


def check_directory(
    directory: Path,
    settings: RunSettings,
    *,
    resume: bool,
    overwrite: bool,
    also_may_change: Sequence[str] = (),
    kind: Kind = KIND,
) -> None:
    """Raises ConfigError if the directory is taken, or its run, to be resumed, has other settings."""
    if check_path(directory, kind, resume, overwrite):
        may_change = (*MAY_CHANGE, *also_may_change)
        records = read_json(directory / kind.file), settings.record()
        before, now = ({k: v for k, v in record.items() if k not in may_change} for record in records)
        refuse_difference(before, now, "output")


def digest(parts: Iterable[bytes]) -> str:
    """Of what is not part of a checkpoint, and must be the same when a run is resumed."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(part)
    return found.hexdigest()


class Run(abc.ABC):
    """Steps, and what surrounds them; subclasses say what a step, a validation and a checkpoint are.

    Attributes:
      step: steps done.
      history: the rows of metrics.jsonl.
    """

    kind: ClassVar[Kind] = KIND  # of the directory
    shown: ClassVar[tuple[str, ...]] = ("loss",)  # of the metrics, on the progress bar
    validated: ClassVar[str] = "validation/loss"  # likewise
    called: ClassVar[str] = "fine-tuning"

    def __init__(self, settings: RunSettings, given: Mapping[str, str]) -> None:
        """`given`: names and digests of what the run to resume must have been given too."""
        self.step = 0
        self.history: list[dict[str, float]] = []
        self._settings = settings
        self._seconds = 0.0
        self._pending: list[Metrics] = []  # since the last row
        self._given = dict(given)
        self._saved: int | None = None  # step of the newest checkpoint

    @property
    def done(self) -> bool:
        return self.step >= self._settings.steps

    @abc.abstractmethod
    def save(self) -> None:
        """Writes a checkpoint of everything that `restore` needs."""

    @abc.abstractmethod
    def restore(self) -> None:
        """Goes on from the newest checkpoint; without one the run starts from the beginning."""

    @abc.abstractmethod
    def _open_checkpoints(self, stack: contextlib.ExitStack) -> None:
        """Opens the checkpoints of `_directory`."""

    @abc.abstractmethod
    def _advance(self) -> Metrics:
        """Takes a step; returns its metrics, "loss" and "learning_rate" among them, and norms by names with "norm"."""

    @abc.abstractmethod
    def _learning_rate(self, steps: int) -> float:
        """Of the next step, in a run of `steps` steps."""

    @abc.abstractmethod
    def _fetch(self, rows: Sequence[Metrics]) -> Sequence[Metrics]:
        """The same metrics, in the host's memory."""

    @property
    @abc.abstractmethod
    def _validates(self) -> bool:
        """Whether anything is held out."""

    @abc.abstractmethod
    def _validate(self) -> dict[str, float]:
        """Means over the same held-out samples every time; `validated` among them."""

    @abc.abstractmethod
    def _snapshot(self, metrics: Metrics) -> Any:
        """What callbacks see after a step."""

    def open(self, directory: Path, stack: contextlib.ExitStack, check: Callable[[], None], *, resume: bool) -> None:
        """Takes a directory, with logs and checkpoints to be closed by `stack`; goes on with its run if asked to.

        `check` is `check_directory` with its arguments.
        """
        settings = self._settings
        claim = Claim(directory, self.kind, check)
        self._directory = stack.enter_context(claim)
        if not (resume and (directory / self.kind.file).is_file()):
            claim.clear()
        write_json(directory / self.kind.file, settings.record())
        self._open_checkpoints(stack)
        about = About(directory.absolute().name, settings.record())
        self._writer = make_writers(directory, settings.tensorboard, settings.wandb_project, about)
        stack.callback(self._writer.close)
        if resume:
            self.restore()

    def run(self, stop: StopRequest, callbacks: Sequence[Callable[[Any], None]]) -> None:
        """Steps until they are done or a signal asks to stop, and saves.

        Raises Diverged when loss or gradient are not finite; that is noticed before anything is saved, so that the
        checkpoints before it stay.
        """
        settings = self._settings
        on_bar: dict[str, float] = {}
        started = time.perf_counter() - self._seconds
        with self._progress_bar() as progress:
            while not self.done and not stop:
                metrics = self._advance()
                self._pending.append(metrics)
                self.step += 1
                validate = self._validates and (self._due(settings.validate_every) or self.done)
                if validate or self.done or self._due(settings.log_every):
                    row = self._averages() | (self._validate() if validate else {})
                    self._seconds = time.perf_counter() - started
                    row["time/seconds"] = self._seconds
                    self.history.append(row)
                    self._writer.write(self.step, row)
                    on_bar |= {name: row[f"train/{name}"] for name in self.shown}
                    on_bar |= {"validation": row[self.validated]} if validate else {}
                progress.update(1, on_bar)
                if self._due(settings.save_every):
                    self._save()
                for callback in callbacks:
                    callback(self._snapshot(metrics))
        self._seconds = time.perf_counter() - started
        self._save()

    def _progress_bar(self) -> ProgressBar:
        return ProgressBar(self._settings.steps, initial=self.step, description=self.called)

    def _save(self) -> None:
        self._check_finite(self._fetch(self._pending))
        self._writer.flush()
        self.save()
        self._saved = self.step

    def _check_finite(self, rows: Sequence[Metrics]) -> None:
        """Raises Diverged for the first of the newest steps, `rows`, whose loss or a norm is not finite."""
        for step, row in enumerate(rows, self.step - len(rows) + 1):
            for name, value in row.items():
                if (name == "loss" or "norm" in name) and not math.isfinite(value):
                    left = "there is no checkpoint"
                    if self._saved is not None:
                        left = f"the checkpoint of step {self._saved} in {self._directory} is left as it was"
                    raise Diverged(
                        f"{name} is {float(value)} at step {step}: training stopped, {left}; lower "
                        "optimizer.learning_rate or optimizer.clip, and look at the data"
                    )

    def _progress(self) -> dict[str, Any]:
        """Of a checkpoint, what `_go_on` needs."""
        return {
            "step": self.step,
            "steps": self._settings.steps,
            "seconds": self._seconds,
            "given": self._given,
            "metrics_position": self._writer.position(),
        }

    def _go_on(self, progress: Mapping[str, Any]) -> None:
        self.step, self._seconds = progress["step"], progress["seconds"]
        self._saved = self.step
        now, before = self._settings.steps, progress.get("steps", self._settings.steps)
        rates = [self._learning_rate(steps) for steps in (before, now)]
        if not self.done and not math.isclose(*rates, rel_tol=1e-6):
            logging.warning(
                "steps=%d: the schedule of the run to resume was made for %d; the learning rate of the next step, %d, "
                "changes from %.3g to %.3g, and what comes is another run than one of %d steps from the beginning",
                *(now, before, self.step, *rates, now),
            )
        self._writer.truncate(progress["metrics_position"], self.step)
        self.history = read_metrics(self._directory / METRICS_FILE)

    def _averages(self) -> dict[str, float]:
        """The metrics since the last row, averaged over its steps."""
        rows = self._fetch(self._pending)
        self._check_finite(rows)
        self._pending = []
        found = {f"train/{name}": float(np.mean([row[name] for row in rows])) for name in rows[-1]}
        return found | {"train/learning_rate": float(rows[-1]["learning_rate"])}

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0 and not self.done
