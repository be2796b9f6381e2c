"""Fine-tuning from start to end: data, steps, validation, checkpoints, and the official directory that is left."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from rpd_jax.checkpoint import Checkpoint, CheckpointError, CheckpointStore, from_paths, to_paths
from rpd_jax.interrupt import StopRequest, stop_on_signal
from rpd_jax.metrics import METRICS_FILE, ProgressBar, make_writers, read_metrics
from rpd_jax.output_directory import check_path, refuse_difference
from rpd_jax.report.files import write_json
from teachers.conventions import CONTRACT_FILE
from teachers.octo.finetune.adapt import adapt, image_sizes, new_octo, text_files
from teachers.octo.finetune.data import Windows, iterate
from teachers.octo.finetune.optimizer import frozen_patterns, is_frozen
from teachers.octo.finetune.settings import FinetuneSettings
from teachers.octo.finetune.step import Array, Batch, Params, Trainer, TrainState
from teachers.octo.losses import batch_loss
from teachers.octo.model import LANGUAGE, Octo
from teachers.recordings import CAMERAS, Episodes, Recordings, load

SETTINGS_FILE = "finetune_config.json"
MAY_CHANGE = ("steps", "log_every", "validate_every", "save_every", "keep_checkpoints", "tensorboard", "wandb_project")
"""Settings that a resumed run may have otherwise."""
MAX_ENCODED = 1024  # instructions whose encodings are kept; of more, the ids are


class Result(NamedTuple):
    """What a run leaves behind."""

    octo: Octo  # the fine-tuned model, or as far as it got
    history: list[dict[str, float]]  # the rows of metrics.jsonl
    directory: Path  # an official checkpoint directory, unless interrupted
    interrupted: bool  # stopped by a signal; `resume=True` goes on


class Snapshot(NamedTuple):
    """What callbacks see after every step."""

    step: int  # steps done
    metrics: dict[str, Array]  # of this step
    state: TrainState  # the next step consumes its arrays: copy what is to be kept


def finetune(
    model: Octo | Mapping[str, Any] | None,
    sources: Sequence[Episodes],
    settings: FinetuneSettings,
    directory: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callable[[Snapshot], None]] = (),
) -> Result:
    """Fine-tunes Octo on demonstrations.

    Args:
      model: a pretrained model; or the official configuration of one to be trained from nothing; None: octo-nano.
      sources: sets of demonstrations, which are mixed in proportion to their steps.
      settings: validated first.
      directory: gets finetune_config.json, metrics.jsonl and checkpoints, and at the end what `load_octo` reads.
      resume: go on with the run in the directory, if there is one; the same model and data must be given.
      overwrite: delete that run first.
      callbacks: called after every step.

    Raises:
      ConfigError: a setting cannot work with this model or data, or the directory is taken.
      CheckpointError: the checkpoint to resume does not fit.
    """
    settings.validate()
    directory = Path(directory)
    record = json.loads(json.dumps(settings.to_dict()))  # lists for tuples, as in the file
    if check_path(directory, SETTINGS_FILE, "output", resume, overwrite):
        before = json.loads((directory / SETTINGS_FILE).read_text())
        refuse_difference(_fixed(before), _fixed(record), "output")
    sizes = (
        image_sizes(model)
        if isinstance(model, Octo)
        else {f"image_{camera}": settings.data.image_size for camera in CAMERAS}
    )
    recordings = load(sources, settings.data, sizes)
    octo = adapt(model, recordings, settings) if isinstance(model, Octo) else new_octo(model, recordings, settings)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())
        run = _Run(octo, recordings, settings)
        if overwrite and directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / SETTINGS_FILE, record)
        run.open(directory, stack)
        if resume:
            run.restore()
        run.run(stop, callbacks)
        if run.done:
            run.export()
        return Result(run.octo, run.history, directory, interrupted=not run.done)


class _Run:
    """A run between its first step and its last."""

    def __init__(self, octo: Octo, recordings: Recordings, settings: FinetuneSettings) -> None:
        self._base, self._recordings, self._settings = octo, recordings, settings
        patterns = frozen_patterns(settings, octo.config)
        language = octo.text is not None and bool(octo.module.config.task_tokenizers)
        table = _instruction_table(octo, recordings.instructions, patterns) if language else None

        def loss(params: Params, batch: Batch, key: Array, train: bool) -> tuple[Array, dict[str, Array]]:
            return batch_loss(octo.module, params, batch, key, train=train)

        self._trainer = Trainer(loss, octo.params, settings, patterns, table)
        self._state = self._trainer.init()
        words = np.array(recordings.instructions)[recordings.instruction]
        self._given = {
            "frozen parameters": _digest(self._trainer.frozen),
            "demonstrations": _digest({"action": recordings.action, "length": recordings.length, "words": words}),
        }
        train, held_out = recordings.split(settings.data.validation_share, settings.seed)
        make = _windows_factory(octo, recordings, settings, language)
        batch = settings.data.batch_size
        self._batches = iterate(make(train).shuffled(batch, settings.seed))
        self._validation = {}
        if settings.validate_every and len(held_out):
            for modality in _modalities(settings, language and bool(recordings.instruction[held_out].all())):
                self._validation[modality] = make(held_out, modality).shuffled(batch, settings.seed + 1)
        logging.info(
            "%d episodes to train on (%d steps), %d to validate; %d parameters are trained, %d are frozen",
            len(train), int(recordings.length[train].sum()), len(held_out),
            *(sum(x.size for x in jax.tree.leaves(tree)) for tree in (self._state.params, self._trainer.frozen)),
        )  # fmt: skip
        self.step = 0
        self._seconds = 0.0
        self._pending: list[dict[str, Array]] = []  # metrics since the last row
        self.history: list[dict[str, float]] = []

    def open(self, directory: Path, stack: contextlib.ExitStack) -> None:
        """Opens the logs and the checkpoints of a directory, to be closed by `stack`."""
        self._directory = directory
        self._store = CheckpointStore(directory, self._settings.keep_checkpoints)
        stack.callback(self._store.close)
        self._writer = make_writers(directory, self._settings.tensorboard, self._settings.wandb_project)
        stack.callback(self._writer.close)
        stack.callback(self._batches.close)

    @property
    def done(self) -> bool:
        return self.step >= self._settings.steps

    @property
    def octo(self) -> Octo:
        """The model as it is now."""
        return dataclasses.replace(
            self._base, params=self._trainer.params(self._state), directory=self._directory, step=self.step
        )

    def run(self, stop: StopRequest, callbacks: Sequence[Callable[[Snapshot], None]]) -> None:
        """Steps until they are done or a signal asks to stop, and saves."""
        settings, shown = self._settings, {}
        started = time.perf_counter() - self._seconds
        with ProgressBar(settings.steps, initial=self.step, description="fine-tuning") as progress:
            while not self.done and not stop:
                batch = next(self._batches)
                if self._pending:  # one step at a time, so that a signal and a full memory are noticed
                    jax.block_until_ready(self._pending[-1])
                self._state, metrics = self._trainer.step(self._state, batch)
                self._pending.append(metrics)
                self.step += 1
                validate = self._validation and (self._due(settings.validate_every) or self.done)
                if validate or self.done or self._due(settings.log_every):
                    row = self._averages() | (self._validate() if validate else {})
                    self._seconds = time.perf_counter() - started
                    row["time/seconds"] = self._seconds
                    self.history.append(row)
                    self._writer.write(self.step, row)
                    shown |= {"loss": row["train/loss"]}
                    shown |= {"validation": row["validation/loss"]} if validate else {}
                progress.update(1, shown)
                if self._due(settings.save_every):
                    self.save()
                for callback in callbacks:
                    callback(Snapshot(self.step, metrics, self._state))
        self._seconds = time.perf_counter() - started
        self.save()

    def save(self) -> None:
        """Writes a checkpoint of everything that `restore` needs."""
        host = {
            "step": self.step,
            "seconds": self._seconds,
            "batches": self._batches.get_state(),
            "given": self._given,
            "metrics_position": self._writer.position(),
        }
        state = to_paths({"opt_state": self._state.opt_state, "step": self._state.step})
        self._store.save(self.step, Checkpoint(to_paths(self._state.params), state, host))

    def restore(self) -> None:
        """Goes on from the newest checkpoint; without one the run starts from the beginning."""
        if self._store.latest() is None:
            self._writer.truncate(0)
            return
        stored = self._store.load()
        for what, digest in stored.host["given"].items():
            if digest != self._given[what]:
                raise CheckpointError(f"{what} differ from those of the run to resume: give the same")
        params = from_paths(stored.params, self._state.params, "params")
        template = {"opt_state": self._state.opt_state, "step": self._state.step}
        self._state = TrainState(params, **from_paths(stored.train_state, template, "train_state"))
        self.step, self._seconds = stored.host["step"], stored.host["seconds"]
        self._batches.set_state(stored.host["batches"])
        self._writer.truncate(stored.host["metrics_position"])
        self.history = read_metrics(self._directory / METRICS_FILE)

    def export(self) -> None:
        """Writes the official checkpoint, unless an earlier session has."""
        if (self._directory / str(self.step)).exists():
            return
        files = text_files(self._base)
        if self._recordings.contract is not None:
            files[CONTRACT_FILE] = json.dumps(dataclasses.asdict(self._recordings.contract), indent=1).encode()
        self.octo.save(self._directory, self.step, files)

    def _averages(self) -> dict[str, float]:
        """The metrics since the last row, losses averaged over its steps."""
        rows = jax.device_get(self._pending)
        self._pending = []
        found = {f"train/{name}": float(np.mean([row[name] for row in rows])) for name in rows[-1]}
        if not math.isfinite(found["train/loss"]):
            logging.warning("the loss is %s at step %d", found["train/loss"], self.step)
        return found | {"train/learning_rate": float(rows[-1]["learning_rate"])}

    def _validate(self) -> dict[str, float]:
        """Losses of the same held-out windows every time, for each modality and their mean."""
        count = self._settings.data.validation_batches
        found = {}
        for modality, batches in self._validation.items():
            losses = [self._trainer.validate(self._state, batches[i], i) for i in range(count)]
            found[f"validation/{modality}"] = float(np.mean(jax.device_get(losses)))
        return {"validation/loss": float(np.mean(list(found.values())))} | found

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0 and not self.done


def _windows_factory(
    octo: Octo, recordings: Recordings, settings: FinetuneSettings, language: bool
) -> Callable[..., Windows]:
    dims = octo.head().action_dim

    def make(episodes: np.ndarray, modality: str = "") -> Windows:
        return Windows(recordings, episodes, settings.data, action_dim=dims, language=language, modality=modality)

    return make


def _modalities(settings: FinetuneSettings, all_instructed: bool) -> tuple[str, ...]:
    """What is validated: of a multimodal run both, where it can."""
    if settings.data.modality != "multimodal":
        return (settings.data.modality,)
    return ("image_conditioned", "language_conditioned") if all_instructed else ("image_conditioned",)


def _instruction_table(octo: Octo, instructions: Sequence[str], patterns: Sequence[str]) -> Any:
    """Ids and masks of the instructions, or their encodings where the text encoder never changes."""
    tokens = octo.text.encode(instructions)
    encoders = [name for name in octo.params["octo_transformer"] if name.startswith("task_tokenizers_")]
    frozen = all(is_frozen(f"octo_transformer/{name}/hf_model/shared/embedding", patterns) for name in encoders)
    if not encoders or not frozen or len(instructions) > MAX_ENCODED:
        return jax.tree.map(jax.numpy.asarray, tokens)
    return octo.encode_task({LANGUAGE: tokens})[LANGUAGE]


def _fixed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in MAY_CHANGE}


def _digest(params: Params) -> str:
    """Of arrays that are not part of a checkpoint, and must be the same when a run is resumed."""
    digest = hashlib.blake2b(digest_size=16)
    for path, leaf in sorted(to_paths(params).items()):
        digest.update(path.encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
