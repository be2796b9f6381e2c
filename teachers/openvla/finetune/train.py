"""Fine-tuning from start to end: data, steps, validation, checkpoints, and the adapter that is left."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from absl import logging
from torch import Tensor

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.interrupt import stop_on_signal
from teachers.digest import digest as digest_of_base
from teachers.finetuning.run import Run, check_directory, digest
from teachers.openvla.finetune.adapter import adapter_config, add_lora, write_description, write_weights
from teachers.openvla.finetune.data import Samples, read
from teachers.openvla.finetune.merge import DIRECTORY as MERGED
from teachers.openvla.finetune.merge import write_merged
from teachers.openvla.finetune.settings import FinetuneSettings
from teachers.openvla.finetune.state import StateStore, digest_of_files
from teachers.openvla.finetune.step import Trainer, learning_rate
from teachers.openvla.server.checkpoint import tensor_files
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.loading import Parts, load_parts
from teachers.openvla.server.prompts import choose_template
from teachers.recordings import Episodes, Recordings
from teachers.serving import Serving

ALSO_MAY_CHANGE = ("device", "gradient_checkpointing", "merge")
"""Settings that a resumed run may have otherwise, besides `MAY_CHANGE` of every fine-tuning."""


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
    signal: int | None  # that stopped it; `resume=True` goes on

    @property
    def interrupted(self) -> bool:
        return self.signal is not None


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
        dataset_statistics.json, serving.json and what the actions mean: all that `OpenVLAPolicy.load(directory)`
        needs besides the checkpoint, whose place it notes. If asked, a whole checkpoint too.
      resume: go on with the run in the directory, if there is one; the same checkpoint and data must be given.
      overwrite: delete that run first.
      callbacks: called after every step.
    Raises:
      ConfigError: a setting cannot work with this model or data, or the directory is taken.
      Diverged: a loss or gradient was not finite; the checkpoint before it is left.
      ValueError: the checkpoint cannot be read.
    """
    settings.validate()
    checkpoint, directory = Path(checkpoint), Path(directory)
    check = functools.partial(
        check_directory, directory, settings, resume=resume, overwrite=overwrite, also_may_change=ALSO_MAY_CHANGE
    )
    check()
    config = ModelConfig.from_dict(read_json(checkpoint / "config.json"))
    recordings = read(sources, settings.data, config.towers[0].image_size)
    batch = settings.data.batch_size // settings.accumulation
    parts = load_parts(
        checkpoint,
        dtype=settings.dtype,
        device=settings.device or None,
        statistics=recordings.statistics,
        max_batch=batch,
        remedy="lower data.batch_size, or raise accumulation",
    )
    if parts.model.proprio_projector is not None:
        raise ConfigError(f"checkpoint={str(checkpoint)!r} cannot be fine-tuned here: it is OpenVLA-OFT's")
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())
        serving = Serving(
            planned=settings.steps,
            cameras={"image_primary": settings.data.primary},
            statistics_key=settings.data.name,
            prompt=choose_template(None, config.language_model)[0],
            center_crop=settings.augment.enabled,
            base=str(checkpoint),
            base_digest=digest_of_base(checkpoint),
            trained_on=recordings.trained_on.to_json(),
        )
        given = {"checkpoint": digest_of_files(tensor_files(checkpoint))}
        run = _Run(parts, recordings, settings, given, serving)
        run.open(directory, stack, check, resume=resume)
        described = adapter_config(run.trainer.trainable, settings.lora, checkpoint)
        write_description(directory, described, {settings.data.name: recordings.statistics}, recordings.contract)
        try:
            run.run(stop, callbacks)
        except torch.OutOfMemoryError as error:
            what = f"batches of {batch} need more memory than {parts.model.device} has"
            raise ConfigError(f"{what}: raise accumulation, or set gradient_checkpointing") from error
        if run.done and settings.merge:
            write_merged(checkpoint, directory, directory / MERGED)
        return Result(parts, run.step, run.history, directory, None if run.done else stop.signal)


class _Run(Run):
    """Of OpenVLA, whose checkpoints are those of its matrices and their optimizer."""

    shown = ("loss", "action_accuracy")
    _settings: FinetuneSettings

    def __init__(
        self,
        parts: Parts,
        recordings: Recordings,
        settings: FinetuneSettings,
        given: Mapping[str, str],
        serving: Serving,
    ) -> None:
        words = [recordings.instructions[each] for each in recordings.instruction]
        demonstrations = [recordings.action.tobytes(), recordings.length.tobytes(), json.dumps(words).encode()]
        super().__init__(settings, {**given, "demonstrations": digest(demonstrations)})
        self._device, self._serving = parts.model.device, serving
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
        logging.info(
            "%d episodes to train on (%d samples), %d to validate; %d parameters are trained, in %d matrices",
            len(train), len(self._samples), len(held_out), sum(x.numel() for x in matrices.values()), len(matrices),
        )  # fmt: skip

    def save(self) -> None:
        """Writes the matrices as well, and how they are to be served."""
        write_weights(self._directory, self.trainer.trainable)
        dataclasses.replace(self._serving, steps=self.step).write(self._directory)
        if self.step == 0 or self.step in self._store.steps():
            return
        self._store.save(
            self.step, self.trainer.optimizer.state(), self._progress() | {"pending": self._fetch(self._pending)}
        )

    def restore(self) -> None:
        if not self._store.steps():
            self._writer.truncate(0)
            return
        tensors, host = self._store.resume(self._given)
        self.trainer.optimizer.set_state(tensors, host["step"])
        self._pending = [{name: torch.tensor(x) for name, x in row.items()} for row in host["pending"]]
        self._go_on(host)

    def _open_checkpoints(self, stack: contextlib.ExitStack) -> None:
        self._store = StateStore(self._directory, self._settings.keep_checkpoints)

    def _advance(self) -> dict[str, Tensor]:
        batch = self._samples.batch(self.step, self._settings.data.batch_size, self._device)
        return self.trainer.step(batch, self.step)

    def _learning_rate(self, steps: int) -> float:
        return learning_rate(self.step, self._settings.optimizer)  # it does not depend on their number

    def _snapshot(self, metrics: dict[str, Tensor]) -> Snapshot:
        return Snapshot(self.step, metrics)

    def _fetch(self, rows: Sequence[dict[str, Tensor]]) -> list[dict[str, float]]:
        return [{name: float(x) for name, x in row.items()} for row in rows]

    @property
    def _validates(self) -> bool:
        return self._held_out is not None

    def _validate(self) -> dict[str, float]:
        """Loss and metrics of the same held-out samples every time."""
        data = self._settings.data
        held_out = self._held_out
        assert held_out is not None, "see `_validates`"
        batches = (held_out.batch(i, data.batch_size, self._device) for i in range(data.validation_batches))
        rows = self._fetch([self.trainer.evaluate(each) for each in batches])
        return {f"validation/{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}
