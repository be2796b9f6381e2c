"""A run from start to end: environments, iterations, evaluation, checkpoints, and the adapter that is left."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from absl import logging
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.interrupt import StopRequest, stop_on_signal
from rpd_jax.runs.metrics import MultiWriter
from rpd_jax.runs.progress import ProgressBar
from rpd_jax.types import ActionContract
from teachers.conventions import contract_of
from teachers.finetuning.run import Run, check_directory
from teachers.openvla.finetune.adapter import adapter_config, write_description, write_weights
from teachers.openvla.finetune.state import StateStore
from teachers.openvla.opd.environments import Environments, share
from teachers.openvla.opd.match import look
from teachers.openvla.opd.models import Pair, load_pair
from teachers.openvla.opd.rollout import Seen, roll_out, seed_of
from teachers.openvla.opd.scores import score
from teachers.openvla.opd.serving import as_it_acted
from teachers.openvla.opd.settings import KIND, DistillSettings
from teachers.openvla.opd.update import RATIO, Learner
from teachers.openvla.server.batching import uniform_numbers
from teachers.serving import Serving, read_serving

ALSO_MAY_CHANGE = ("device", "gradient_checkpointing", "max_batch", "micro_batch", "features_gib", "evaluation")
"""Settings that a resumed run may have otherwise, besides `MAY_CHANGE` of every fine-tuning."""
_HANDLERS = [
    DistributedDataParallelKwargs(broadcast_buffers=False),  # they never change
    InitProcessGroupKwargs(timeout=datetime.timedelta(hours=2)),  # processes wait for the slowest rollout
]


class Result(NamedTuple):
    """What a run leaves behind."""

    pair: Pair
    step: int  # iterations done
    history: list[dict[str, float]]  # the rows of metrics.jsonl; of the first process
    directory: Path  # an adapter that `OpenVLAPolicy.load` and `OFTPolicy.load` read
    signal: int | None  # that stopped it; `resume=True` goes on


def distill(
    checkpoint: str | Path,
    teacher: str | Path,
    settings: DistillSettings,
    directory: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callable[[dict[str, float]], None]] = (),
) -> Result:
    """Distils a teacher into a student that acts. In each of several processes, where torchrun started them.

    Args:
      checkpoint: of the student, see `models.load_pair`; its serving file is obeyed where settings say nothing.
      teacher: likewise.
      settings: validated first.
      directory: gets distill_config.json, metrics.jsonl (a row an iteration), checkpoints, and the student's adapter
        with its statistics, serving.json and what its actions mean.
      resume: go on with the run in the directory, if there is one; the same checkpoints must be given.
      overwrite: delete that run first.
      callbacks: called with the metrics of every iteration.
    Raises:
      ConfigError: a setting cannot work with these models or environments, or the directory is taken.
      Diverged: a loss or gradient was not finite; the checkpoint before it is left.
      ValueError: a checkpoint cannot be read.
    """
    settings.validate()
    checkpoint, directory = Path(checkpoint), Path(directory)
    if begun := read_serving(checkpoint):
        settings = dataclasses.replace(settings, **begun.followed(settings))
    accelerator = Accelerator(cpu=settings.device == "cpu", kwargs_handlers=_HANDLERS)
    check = functools.partial(
        check_directory,
        directory,
        settings,
        resume=resume,
        overwrite=overwrite,
        also_may_change=ALSO_MAY_CHANGE,
        kind=KIND,
    )
    if accelerator.is_main_process:
        check()
    source = look(checkpoint, settings.oft, settings.statistics_key)
    contract = contract_of(source.adapter or source.base, settings.contract)
    if contract is None:
        raise ConfigError(f"contract={settings.contract!r} cannot work: its actions must be end-effector deltas, named")
    with contextlib.ExitStack() as stack:
        # Before the models, which take minutes to read, and before CUDA starts: simulators are processes.
        envs, held_out = _environments(settings, contract, accelerator, stack)
        # accelerate numbers the CPU too, which safetensors does not
        device = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
        pair = load_pair(checkpoint, Path(teacher), settings, device)
        stop = _SharedStop(stack.enter_context(stop_on_signal()), accelerator)
        run = _Run(pair, envs, held_out, settings, accelerator, as_it_acted(settings, source, envs.env.spec))
        run.open(directory, stack, check, resume=resume)
        if accelerator.is_main_process:
            described = adapter_config(pair.matrices, pair.lora, pair.source.base)
            statistics = {pair.source.described.statistics_key: pair.source.statistics}
            write_description(directory, described, statistics, contract)
        try:
            run.run(stop, callbacks)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"the work needs more memory than {accelerator.device} has: lower max_batch={settings.max_batch} or "
                f"micro_batch={settings.micro_batch}, or set gradient_checkpointing"
            ) from error
        accelerator.end_training()
        return Result(pair, run.step, run.history, directory, None if run.done else stop.signal)


def _environments(
    settings: DistillSettings, contract: ActionContract, accelerator: Accelerator, stack: contextlib.ExitStack
) -> tuple[Environments, Environments | None]:
    """This process's share of those to learn in, and to be evaluated in if that is ever done; the stack closes them."""
    evaluation = settings.evaluation
    wanted = [(settings.seed, settings.groups, "groups", settings.group_size)]
    if settings.validate_every:
        wanted.append((evaluation.seed, evaluation.episodes, "evaluation.episodes", 1))
    made: list[Environments] = []
    for seed, count, name, size in wanted:
        seeds = share(seed, count, accelerator.process_index, accelerator.num_processes, name)
        made.append(Environments(settings, seeds, size, contract))
        stack.callback(made[-1].env.close)
    return made[0], made[1] if len(made) > 1 else None


class _SharedStop(StopRequest):
    """Asks every process to stop once one has been asked to."""

    def __init__(self, own: StopRequest, accelerator: Accelerator) -> None:
        self._own, self._accelerator = own, accelerator
        super().__init__()

    def __bool__(self) -> bool:
        asked = torch.tensor([float(self._own.signal or 0)], device=self._accelerator.device)
        self.signal = int(self._accelerator.gather(asked).max()) or None
        return self.signal is not None


class _Silent(MultiWriter):
    """The log of all processes but the first."""

    def __init__(self) -> None: ...

    def write(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def flush(self) -> None: ...

    def position(self) -> int:
        return 0

    def truncate(self, position: int, last_step: int | None = None) -> None: ...


class _Run(Run):
    """Everything random follows from the seed and the iteration: a checkpoint is the matrices and their moments."""

    kind = KIND
    shown = ("success", "reverse_kl", "student_entropy", "tokens_per_second")
    validated = "validation/success"
    called = "distillation"
    _settings: DistillSettings

    def __init__(
        self,
        pair: Pair,
        envs: Environments,
        held_out: Environments | None,
        settings: DistillSettings,
        accelerator: Accelerator,
        serving: Serving,
    ) -> None:
        super().__init__(settings, pair.given)
        self._serving = serving
        self._pair, self._envs, self._held_out, self._accelerator = pair, envs, held_out, accelerator
        self._learner = Learner(pair, settings, accelerator)
        logging.info(
            "%d trajectories of at most %d steps an iteration, in %d processes; %d parameters are trained",
            settings.groups * settings.group_size, envs.steps, accelerator.num_processes,
            sum(x.numel() for x in pair.trainable.values()),
        )  # fmt: skip

    def open(self, directory: Path, stack: contextlib.ExitStack, check: Callable[[], None], *, resume: bool) -> None:
        """The first process takes the directory, then the others read what is to be resumed."""
        if self._accelerator.is_main_process:
            super().open(directory, stack, check, resume=resume)
            self._accelerator.wait_for_everyone()
            return
        self._accelerator.wait_for_everyone()
        self._directory, self._writer = directory, _Silent()
        self._open_checkpoints(stack)
        if resume:
            self.restore()

    def save(self) -> None:
        if self.step == 0 or self.step in self._store.steps() or not self._accelerator.is_main_process:
            return
        write_weights(self._directory, self._pair.matrices)
        dataclasses.replace(self._serving, steps=self.step).write(self._directory)
        host = self._progress() | {"pending": self._pending}
        self._store.save(self.step, self._learner.optimizer.state(), host)

    def restore(self) -> None:
        if not self._store.steps():
            self._writer.truncate(0)
            return
        tensors, host = self._store.resume(self._given)
        steps = self._settings.epochs * self._settings.minibatches
        self._learner.optimizer.set_state(tensors, host["step"] * steps)
        self._pending = host["pending"]
        self._go_on(host)

    def _open_checkpoints(self, stack: contextlib.ExitStack) -> None:
        self._store = StateStore(self._directory, self._settings.keep_checkpoints)

    def _progress_bar(self) -> ProgressBar:
        if self._accelerator.is_main_process:
            return super()._progress_bar()
        return ProgressBar(self._settings.steps, initial=self.step, description=self.called, stream=io.StringIO())

    def _advance(self) -> dict[str, float]:
        settings, begun = self._settings, time.perf_counter()
        seen = Seen(keeps=self._pair.keeps_features, gib=settings.features_gib)
        rollout = roll_out(
            self._envs,
            self.step,
            self._pair.student,
            draw=self._draw,
            temperature=settings.temperature,
            max_batch=settings.max_batch,
            seen=seen,
        )
        rolled = time.perf_counter()
        ratio = settings.phase(self.step).objective in RATIO
        scores = score(self._pair, rollout, temperature=settings.temperature, max_batch=settings.max_batch, ratio=ratio)
        scored = time.perf_counter()
        metrics = self._learner.update(rollout, scores, self.step)
        ended = time.perf_counter()
        return metrics | {
            "seconds_rollout": rolled - begun,
            "seconds_score": scored - rolled,
            "seconds_update": ended - scored,
            "tokens_per_second": metrics["tokens"] / (ended - begun),
        }

    def _draw(self, decision: int) -> Tensor:
        """Random numbers [N, K] of this process's trajectories; the same ones however many processes there are."""
        settings, process = self._settings, self._accelerator.process_index
        shape = settings.group_size, settings.groups, self._pair.student.count
        everyone = uniform_numbers(shape, seed_of(settings.seed, self.step, decision))
        own = settings.groups // self._accelerator.num_processes
        return everyone[:, process * own : (process + 1) * own].flatten(0, 1)

    def _learning_rate(self, steps: int) -> float:
        return self._learner.learning_rate(self.step)  # it does not depend on their number

    def _fetch(self, rows: Sequence[dict[str, float]]) -> Sequence[dict[str, float]]:
        return rows

    @property
    def _validates(self) -> bool:
        return self._held_out is not None

    def _validate(self) -> dict[str, float]:
        """Success of the most likely tokens, in the same episodes every time."""
        assert self._held_out is not None, "see `_validates`"
        settings = self._settings
        found = roll_out(
            self._held_out,
            0,
            self._pair.student,
            draw=None,
            temperature=settings.temperature,
            max_batch=settings.max_batch,
            seen=None,
        )
        mean = self._accelerator.reduce(found.success.mean().to(self._accelerator.device), "mean")
        return {self.validated: float(mean)}

    def _snapshot(self, metrics: dict[str, float]) -> dict[str, float]:
        return metrics
