"""Fine-tuning from start to end: data, steps, validation, checkpoints, and the adapter that is left."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from absl import logging
from torch import Tensor

from rpd_jax.interrupt import StopRequest, stop_on_signal
from rpd_jax.metrics import METRICS_FILE, ProgressBar, make_writers, read_metrics
from rpd_jax.output_directory import check_path, refuse_difference
from rpd_jax.report.files import write_json
from rpd_jax.validation import ConfigError
from teachers.openvla.finetune.adapter import adapter_config, add_lora, write_description, write_weights
from teachers.openvla.finetune.data import Samples, read
from teachers.openvla.finetune.merge import DIRECTORY as MERGED
from teachers.openvla.finetune.merge import write_merged
from teachers.openvla.finetune.settings import SETTINGS_FILE, FinetuneSettings
from teachers.openvla.finetune.state import StateStore
from teachers.openvla.finetune.step import Trainer
from teachers.openvla.server.checkpoint import tensor_files
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.loading import Parts, load_parts
from teachers.recordings import Episodes, Recordings

MAY_CHANGE = (
    *("steps", "device", "gradient_checkpointing", "log_every", "validate_every", "save_every"),
    *("keep_checkpoints", "merge", "tensorboard", "wandb_project"),
)
"""Settings that a resumed run may have otherwise."""
_SAMPLED = 2**20  # bytes at the end of a file that tell checkpoints apart


class Snapshot(NamedTuple):
    """What callbacks see after every step."""

    step: int  # steps done
    metrics: dict[str, Tensor]  # of this step


class Result(NamedTuple):
    """What a run leaves behind."""

    parts: Parts  # the model with its matrices, as far as it got; its preprocessing has no centre crop
    step: int
    history: list[dict[str, float]]  # the rows of metrics.jsonl
    directory: Path  # an adapter that `OpenVLAPolicy.load` reads
    interrupted: bool  # stopped by a signal; `resume=True` goes on


def finetune(
    checkpoint: str | Path,
    sources: Sequence[Episodes],
    settings: FinetuneSettings,
    directory: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callable[[Snapshot], None]] = (),
) -> Result:
    """Trains LoRA matrices for an OpenVLA checkpoint on demonstrations.

    Args:
      checkpoint: directory in the layout of Hugging Face; it is left as it is.
      sources: sets of demonstrations, which are mixed in proportion to their steps.
      settings: validated first.
      directory: gets finetune_config.json, metrics.jsonl, checkpoints, and in PEFT's layout the matrices, with
        dataset_statistics.json and what the actions mean: all that `OpenVLAPolicy.load(directory)` needs besides the
        checkpoint, whose place it notes. If asked, a whole checkpoint too.
      resume: go on with the run in the directory, if there is one; the same checkpoint and data must be given.
      overwrite: delete that run first.
      callbacks: called after every step.
    Raises:
      ConfigError: a setting cannot work with this model or data, or the directory is taken.
      ValueError: the checkpoint cannot be read.
    """
    settings.validate()
    checkpoint, directory = Path(checkpoint), Path(directory)
    record = json.loads(json.dumps(settings.to_dict()))  # lists for tuples, as in the file
    if check_path(directory, SETTINGS_FILE, "output", resume, overwrite):
        before = json.loads((directory / SETTINGS_FILE).read_text())
        refuse_difference(_fixed(before), _fixed(record), "output")
    config = ModelConfig.from_dict(read_json(checkpoint / "config.json"))
    recordings = read(sources, settings.data, config.towers[0].image_size)
    batch = settings.data.batch_size // settings.accumulation
    parts = load_parts(
        checkpoint,
        dtype=settings.dtype,
        device=settings.device or None,
        statistics=recordings.statistics,
        max_batch=batch,
    )
    if parts.model.proprio_projector is not None:
        raise ConfigError(f"checkpoint={str(checkpoint)!r} cannot be fine-tuned here: it is OpenVLA-OFT's")
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())
        run = _Run(parts, recordings, settings, {"checkpoint": _digest_of_files(checkpoint)})
        if overwrite and directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / SETTINGS_FILE, record)
        run.open(directory, stack)
        if resume:
            run.restore()
        described = adapter_config(run.trainer.trainable, settings.lora, checkpoint)
        write_description(directory, described, {settings.data.name: recordings.statistics}, recordings.contract)
        try:
            run.run(stop, callbacks)
        except torch.OutOfMemoryError as error:
            what = f"batches of {batch} need more memory than {parts.model.device} has"
            raise ConfigError(f"{what}: raise accumulation, or set gradient_checkpointing") from error
        if run.done and settings.merge:
            write_merged(checkpoint, directory, directory / MERGED)
        return Result(parts, run.step, run.history, directory, interrupted=not run.done)


class _Run:
    """A run between its first step and its last."""

    def __init__(
        self, parts: Parts, recordings: Recordings, settings: FinetuneSettings, given: Mapping[str, str]
    ) -> None:
        self._settings, self._device = settings, parts.model.device
        matrices = add_lora(parts.model, settings.lora, settings.seed)
        if settings.gradient_checkpointing:
            parts.model.language_model.recompute_activations()
        self.trainer = Trainer(
            parts.model,
            matrices,
            settings.optimizer,
            parts.preprocessor,
            parts.tokens,
            accumulation=settings.accumulation,
            half=settings.dtype == "bf16",
        )
        augment = settings.augment if settings.augment.enabled else None
        train, held_out = recordings.split(settings.data.validation_share, settings.seed)
        make = functools.partial(Samples, recordings, prompter=parts.prompter, tokens=parts.tokens, seed=settings.seed)
        self._samples = make(train, augmentation=augment)
        self._held_out = None
        if settings.validate_every and len(held_out):  # as the model will be served: with the crop's centre
            area = augment.crop_area if augment else 1.0
            self._held_out = make(held_out, center_crop=area)
        words = [recordings.instructions[each] for each in recordings.instruction]
        digest = _digest([recordings.action.tobytes(), recordings.length.tobytes(), json.dumps(words).encode()])
        self._given = {**given, "demonstrations": digest}
        logging.info(
            "%d episodes to train on (%d samples), %d to validate; %d parameters are trained, in %d matrices",
            len(train), len(self._samples), len(held_out), sum(x.numel() for x in matrices.values()), len(matrices),
        )  # fmt: skip
        self.step = 0
        self._seconds = 0.0
        self._pending: list[dict[str, Tensor]] = []  # metrics since the last row
        self.history: list[dict[str, float]] = []

    @property
    def done(self) -> bool:
        return self.step >= self._settings.steps

    def open(self, directory: Path, stack: contextlib.ExitStack) -> None:
        """Opens the logs and the checkpoints of a directory, to be closed by `stack`."""
        self._directory = directory
        self._store = StateStore(directory, self._settings.keep_checkpoints)
        self._writer = make_writers(directory, self._settings.tensorboard, self._settings.wandb_project)
        stack.callback(self._writer.close)

    def run(self, stop: StopRequest, callbacks: Sequence[Callable[[Snapshot], None]]) -> None:
        """Steps until they are done or a signal asks to stop, and saves."""
        settings, shown = self._settings, {}
        started = time.perf_counter() - self._seconds
        with ProgressBar(settings.steps, initial=self.step, description="fine-tuning") as progress:
            while not self.done and not stop:
                batch = self._samples.batch(self.step, settings.data.batch_size, self._device)
                metrics = self.trainer.step(batch, self.step)
                self._pending.append(metrics)
                self.step += 1
                validate = self._held_out is not None and (self._due(settings.validate_every) or self.done)
                if validate or self.done or self._due(settings.log_every):
                    row = self._averages() | (self._validate() if validate else {})
                    self._seconds = time.perf_counter() - started
                    row["time/seconds"] = self._seconds
                    self.history.append(row)
                    self._writer.write(self.step, row)
                    shown |= {name: row[f"train/{name}"] for name in ("loss", "action_accuracy")}
                    shown |= {"validation": row["validation/loss"]} if validate else {}
                progress.update(1, shown)
                if self._due(settings.save_every):
                    self.save()
                for callback in callbacks:
                    callback(Snapshot(self.step, metrics))
        self._seconds = time.perf_counter() - started
        self.save()

    def save(self) -> None:
        """Writes the matrices, and a checkpoint of everything that `restore` needs."""
        write_weights(self._directory, self.trainer.trainable)
        if self.step == 0 or self.step in self._store.steps():
            return
        host = {
            "step": self.step,
            "seconds": self._seconds,
            "given": self._given,
            "metrics_position": self._writer.position(),
            "pending": [{name: float(x) for name, x in row.items()} for row in self._pending],
        }
        self._store.save(self.step, self.trainer.state(), host)

    def restore(self) -> None:
        """Goes on from the newest checkpoint; without one the run starts from the beginning."""
        if not self._store.steps():
            self._writer.truncate(0)
            return
        tensors, host = self._store.load()
        for what, digest in host["given"].items():
            if digest != self._given[what]:
                raise ConfigError(f"{what}: not what the run to resume was given; give the same")
        self.trainer.set_state(tensors, host["step"])
        self.step, self._seconds = host["step"], host["seconds"]
        self._pending = [{name: torch.tensor(x) for name, x in row.items()} for row in host["pending"]]
        self._writer.truncate(host["metrics_position"])
        self.history = read_metrics(self._directory / METRICS_FILE)

    def _averages(self) -> dict[str, float]:
        """The metrics since the last row, averaged over its steps."""
        rows = [{name: float(x) for name, x in row.items()} for row in self._pending]
        self._pending = []
        found = {f"train/{name}": float(np.mean([row[name] for row in rows])) for name in rows[-1]}
        if not math.isfinite(found["train/loss"]):
            logging.warning("the loss is %s at step %d", found["train/loss"], self.step)
        return found | {"train/learning_rate": rows[-1]["learning_rate"]}

    def _validate(self) -> dict[str, float]:
        """Loss and metrics of the same held-out samples every time."""
        data = self._settings.data
        batches = (self._held_out.batch(i, data.batch_size, self._device) for i in range(data.validation_batches))
        rows = [{name: float(x) for name, x in self.trainer.evaluate(each).items()} for each in batches]
        return {f"validation/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0 and not self.done


def _fixed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in MAY_CHANGE}


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _digest_of_files(checkpoint: Path) -> str:
    """Of the size and the end of each tensor file: enough to tell checkpoints apart, without reading all of them."""
    found = []
    for path in tensor_files(checkpoint):
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _SAMPLED))
            found += [str(size).encode(), file.read()]
    return _digest(found)
