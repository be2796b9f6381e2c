"""Fine-tuning from start to end: data, steps, validation, checkpoints, and the official directory that is left."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from rpd_jax.runs.checkpoint import Checkpoint, CheckpointError, CheckpointStore, from_paths, to_paths
from rpd_jax.runs.interrupt import stop_on_signal
from teachers.conventions import CONTRACT_FILE
from teachers.finetuning.run import Run, check_directory, digest
from teachers.octo.checkpoint import digest_checkpoint
from teachers.octo.finetune.adapt import adapt, image_sizes, new_octo, text_files
from teachers.octo.finetune.data import Windows, iterate
from teachers.octo.finetune.optimizer import frozen_patterns, is_frozen, make_schedule
from teachers.octo.finetune.settings import FinetuneSettings
from teachers.octo.finetune.step import Array, Batch, Params, Trainer, TrainState
from teachers.octo.losses import batch_loss
from teachers.octo.model import LANGUAGE, Octo
from teachers.recordings import CAMERAS, Episodes, Recordings, load
from teachers.serving import SERVING_FILE, Serving

MAX_ENCODED = 1024  # instructions whose encodings are kept; of more, the ids are


class Result(NamedTuple):
    """What a run leaves behind."""

    octo: Octo  # the fine-tuned model, or as far as it got
    history: list[dict[str, float]]  # the rows of metrics.jsonl
    directory: Path  # an official checkpoint directory, unless interrupted
    signal: int | None  # that stopped it; `resume=True` goes on

    @property
    def interrupted(self) -> bool:
        return self.signal is not None


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
      directory: gets finetune_config.json, metrics.jsonl and checkpoints, and at the end what `load_octo` reads,
        with serving.json, see `teachers.serving`.
      resume: go on with the run in the directory, if there is one; the same model and data must be given.
      overwrite: delete that run first.
      callbacks: called after every step.

    Raises:
      ConfigError: a setting cannot work with this model or data, or the directory is taken.
      CheckpointError: the checkpoint to resume does not fit.
      Diverged: a loss or gradient was not finite; the checkpoint before it is left.
    """
    settings.validate()
    last = settings.optimizer.decay_steps
    if settings.optimizer.schedule == "cosine" and 0 < last < settings.steps:
        logging.warning(
            "optimizer.decay_steps=%d: the learning rate is 0 from that step on, and steps=%d", last, settings.steps
        )
    directory = Path(directory)
    check = functools.partial(check_directory, directory, settings, resume=resume, overwrite=overwrite)
    check()
    sizes = (
        image_sizes(model)
        if isinstance(model, Octo)
        else {f"image_{camera}": settings.data.image_size for camera in CAMERAS}
    )
    recordings = load(sources, settings.data, sizes)
    octo = adapt(model, recordings, settings) if isinstance(model, Octo) else new_octo(model, recordings, settings)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())
        data, base = settings.data, model if isinstance(model, Octo) else None
        cameras = {"primary": data.primary, "wrist": data.wrist}
        serving = Serving(
            planned=settings.steps,
            cameras={f"image_{name}": key for name, key in cameras.items() if f"image_{name}" in recordings.images},
            trained_on=recordings.trained_on.to_json(),
        )
        if base is not None and base.directory:
            digested = digest_checkpoint(base.directory, base.step)
            serving = dataclasses.replace(serving, base=str(base.directory), base_digest=digested)
        run = _Run(octo, recordings, settings, serving)
        run.open(directory, stack, check, resume=resume)
        run.run(stop, callbacks)
        if run.done:
            run.export()
        return Result(run.octo, run.history, directory, None if run.done else stop.signal)


class _Run(Run):
    """Of Octo, whose checkpoints also have the place in the stream of batches."""

    _settings: FinetuneSettings

    def __init__(self, octo: Octo, recordings: Recordings, settings: FinetuneSettings, serving: Serving) -> None:
        self._serving = serving
        patterns = frozen_patterns(settings, octo.config)
        language = octo.text is not None and bool(octo.module.config.task_tokenizers)
        table = _instruction_table(octo, recordings.instructions, patterns) if language else None

        def loss(params: Params, batch: Batch, key: Array, train: bool) -> tuple[Array, dict[str, Array]]:
            return batch_loss(octo.module, params, batch, key, train=train)

        trainer = Trainer(loss, octo.params, settings, patterns, table)
        words = np.array(recordings.instructions)[recordings.instruction]
        demonstrations = {"action": recordings.action, "length": recordings.length, "words": words}
        given = {"frozen parameters": trainer.frozen, "demonstrations": demonstrations}
        super().__init__(settings, {what: _digest_of_arrays(arrays) for what, arrays in given.items()})
        self._base, self._recordings, self._trainer = octo, recordings, trainer
        self._state = trainer.init()
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

    @property
    def octo(self) -> Octo:
        """The model as it is now."""
        return dataclasses.replace(
            self._base, params=self._trainer.params(self._state), directory=self._directory, step=self.step
        )

    def save(self) -> None:
        host = self._progress() | {"batches": self._batches.get_state()}
        state = to_paths({"opt_state": self._state.opt_state, "step": self._state.step})
        self._store.save(self.step, Checkpoint(to_paths(self._state.params), state, host))

    def restore(self) -> None:
        if self._store.latest() is None:
            self._writer.truncate(0)
            return
        stored = self._store.resume()
        for what, before in stored.host["given"].items():
            if before != self._given[what]:
                raise CheckpointError(f"{what} differ from those of the run to resume: give the same")
        params = from_paths(stored.params, self._state.params, "params")
        template = {"opt_state": self._state.opt_state, "step": self._state.step}
        self._state = TrainState(params, **from_paths(stored.train_state, template, "train_state"))
        self._batches.set_state(stored.host["batches"])
        self._go_on(stored.host)

    def export(self) -> None:
        """Writes the official checkpoint, unless an earlier session has."""
        if (self._directory / str(self.step)).exists():
            return
        files = text_files(self._base)
        serving = dataclasses.replace(self._serving, steps=self.step)
        files[SERVING_FILE] = json.dumps(dataclasses.asdict(serving), indent=1).encode()
        if self._recordings.contract is not None:
            files[CONTRACT_FILE] = json.dumps(dataclasses.asdict(self._recordings.contract), indent=1).encode()
        self.octo.save(self._directory, self.step, files)

    def _open_checkpoints(self, stack: contextlib.ExitStack) -> None:
        self._store = CheckpointStore(self._directory, self._settings.keep_checkpoints)
        stack.callback(self._store.close)
        stack.callback(self._batches.close)

    def _advance(self) -> dict[str, Array]:
        batch = next(self._batches)
        if self._pending:  # one step at a time, so that a signal and a full memory are noticed
            jax.block_until_ready(self._pending[-1])
        self._state, metrics = self._trainer.step(self._state, batch)
        return metrics

    def _learning_rate(self, steps: int) -> float:
        return float(make_schedule(dataclasses.replace(self._settings, steps=steps))(self.step))

    def _snapshot(self, metrics: dict[str, Array]) -> Snapshot:
        return Snapshot(self.step, metrics, self._state)

    def _fetch(self, rows: Sequence[dict[str, Array]]) -> Sequence[dict[str, np.ndarray]]:
        return jax.device_get(rows)

    @property
    def _validates(self) -> bool:
        return bool(self._validation)

    def _validate(self) -> dict[str, float]:
        """Losses of the same held-out windows every time, for each modality and their mean."""
        count = self._settings.data.validation_batches
        found = {}
        for modality, batches in self._validation.items():
            losses = [self._trainer.validate(self._state, batches[i], i) for i in range(count)]
            found[f"validation/{modality}"] = float(np.mean(jax.device_get(losses)))
        return {"validation/loss": float(np.mean(list(found.values())))} | found


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
    assert octo.text is not None, "a model that reads instructions has it"
    tokens = octo.text.encode(instructions)
    encoders = [name for name in octo.params["octo_transformer"] if name.startswith("task_tokenizers_")]
    frozen = all(is_frozen(f"octo_transformer/{name}/hf_model/shared/embedding", patterns) for name in encoders)
    if not encoders or not frozen or len(instructions) > MAX_ENCODED:
        return jax.tree.map(jax.numpy.asarray, tokens)
    return octo.encode_task({LANGUAGE: tokens})[LANGUAGE]


def _digest_of_arrays(params: Params) -> str:
    leaves = sorted(to_paths(params).items())
    return digest(part for path, leaf in leaves for part in (path.encode(), np.ascontiguousarray(leaf).tobytes()))
