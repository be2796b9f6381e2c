"""The training loop: collect, label, update, evaluate, checkpoint, write."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import logging

from rpd_jax import runtime
from rpd_jax.algorithms.base import MemberState, learned
from rpd_jax.config import Config
from rpd_jax.config.validation import require
from rpd_jax.envs.base import FunctionalEnv
from rpd_jax.envs.own import MakesEnvs, own_suite
from rpd_jax.envs.registry import make_env
from rpd_jax.envs.suite import Suite
from rpd_jax.guidance.labels import Ledger
from rpd_jax.report.table import Table
from rpd_jax.runs import directory as run_directory
from rpd_jax.runs.checkpoint import from_paths
from rpd_jax.runs.interrupt import StopRequest, stop_on_signal
from rpd_jax.runs.progress import ProgressBar
from rpd_jax.training import diagnostics, summary
from rpd_jax.training.alarms import Alarms
from rpd_jax.training.assessment import assess
from rpd_jax.training.compiling import CompileClock
from rpd_jax.training.evaluation import Evaluator, evaluation_seeds
from rpd_jax.training.hosts import Hosts, joined
from rpd_jax.training.population import Population
from rpd_jax.training.records import Records
from rpd_jax.training.result import Result
from rpd_jax.training.setup import TeacherFactory, check, make_loop, make_teacher, warn_of_schedules
from rpd_jax.training.size import PaceWarning, announce
from rpd_jax.training.start import from_start
from rpd_jax.types import Teacher

MEMBER_STATE = ("opt_state", "key", "schedule", "diverged")
"""Fields of MemberState that only training needs; the others are learned."""


class Snapshot(NamedTuple):
    """What callbacks see after every iteration, or after several where they are done in one call."""

    iteration: int  # iterations done
    env_steps: int  # per member
    metrics: dict[str, float]
    members: MemberState  # of this process; the next iteration consumes its arrays: copy what is to be kept


def train(
    config: Config,
    teacher: Teacher | TeacherFactory | None = None,
    *,
    env: FunctionalEnv | MakesEnvs | None = None,
    directory: Path | str | None = "",
    resume: bool | int = False,
    overwrite: bool = False,
    callbacks: Sequence[Callable[[Snapshot], None]] = (),
) -> Result:
    """Trains every variant of `config` with every seed, side by side.

    Args:
      config: what to run; it is validated first.
      teacher: a teacher, or a function that makes one for an environment; needed if any variant is guided.
      env: an environment of the caller's own instead of the one that `config.env.name` names: a `FunctionalEnv`, or a
        function that makes vector environments (see `envs.own.own_suite`).
      directory: of the run; empty: `config.run.directory`. None: nothing is left on disk, and there is no resuming.
      resume: go on with the run in its directory if there is one, from its newest intact checkpoint; a number: from
        the checkpoint of that iteration.
      overwrite: delete that run first.
      callbacks: called after every iteration.

    With `config.run.distributed` every process calls it in the same way, trains the members that are its own and gets
    those in its result; the first one writes the run directory, and the others' results name none.

    Raises:
      ConfigError: a setting cannot work, or the run directory is taken.
      HostsFailed: another process of the run failed or is gone.
      CheckpointError: the checkpoint to resume does not fit.
      TeacherError: the teacher failed, or gave nothing that could be used.
      RuntimeError: a simulator process kept failing.

    Whatever ends the run early, the last whole iteration is saved first: `resume` goes on from there. Where one of
    several processes fails, the newest checkpoint is what there is.
    """
    runtime.configure()
    config = copy.deepcopy(config)
    suite = own_suite(env) if env is not None else None
    if suite is not None:
        config.env.name = suite.name
    keep = directory is not None
    require(keep or not resume, "resume", resume, "False where directory is None")
    config.validate()
    with contextlib.ExitStack() as stack:
        hosts = stack.enter_context(joined(config.run))
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rpd_jax."))
            config.run.tensorboard, config.run.wandb_project = False, ""
        config.run.directory = str(directory) or config.run.directory
        check(config, teacher, suite)
        if hosts.reports:
            run_directory.check(config, resume, overwrite)
            run_directory.check_free(config)
            announce(config, suite)
        stack.enter_context(jax.enable_x64(False))  # whatever the program has switched on: ours is single precision
        stop = stack.enter_context(stop_on_signal())
        claim = functools.partial(run_directory.claim, config, resume, overwrite)
        trainer = Trainer(config, teacher, lambda: stack.enter_context(claim()), stack, suite, hosts)
        if resume:
            trainer.restore(None if resume is True else resume)
        trainer.run(stop, callbacks)
        result = trainer.result(signal=None if trainer.done else stop.signal)
        return result if keep else dataclasses.replace(result, directory=None, rows=tuple(result.history))


class Trainer:
    """A run between its first iteration and its last."""

    def __init__(
        self,
        config: Config,
        teacher: Teacher | TeacherFactory | None,
        claim: Callable[[], Path],
        stack: contextlib.ExitStack,
        suite: Suite | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.config, self.hosts = config, hosts or Hosts()
        rgb = config.env.sees_frames
        own = self.hosts.rows(len(config.variants) * len(config.seeds))
        seeds = evaluation_seeds(config.eval, own.stop - own.start)
        eval_env = make_env(config.env, seeds, rgb=rgb, end_on_success=False, suite=suite)
        stack.callback(eval_env.close)

        self.everyone = Population(config, eval_env.spec)
        self.population = Population(config, eval_env.spec, own) if self.hosts.count > 1 else self.everyone
        self.members = self.population.init()
        if config.algorithm.start:
            self.members = from_start(self.population, self.members)
        self.evaluator = Evaluator(eval_env, self.population, hosts=self.hosts, everyone=self.everyone)
        self.teacher = make_teacher(teacher, config, eval_env, stack, suite)
        self.alarms = Alarms(self.everyone, self.teacher.spec.name if self.teacher else "")
        self.loop = make_loop(config, eval_env.spec, self.population, self.teacher, stack, suite)
        directory = claim() if self.hosts.reports else None  # only now: whatever fails before leaves none behind
        self.records = Records(self.hosts, self.everyone, directory, stack)

        self.iteration = 0
        self.seconds = 0.0  # of training and evaluation, over all sessions
        self.curve: list[summary.CurvePoint] = []

    @property
    def env_steps(self) -> int:
        """Environment steps per member so far."""
        return self.steps_after(self.iteration)

    def steps_after(self, iterations: int) -> int:
        """Environment steps per member after so many iterations."""
        return iterations * self.config.algorithm.iteration_steps(self.config.env.num_envs)

    @property
    def done(self) -> bool:
        return self.iteration >= self.config.iterations or self.alarms.everyone_diverged

    def run(self, stop: StopRequest, callbacks: Sequence[Callable[[Snapshot], None]]) -> None:
        """Iterates until the steps are done or a signal asks to stop, and saves, whatever ends it."""
        try:
            self._iterate(stop, callbacks)
        except BaseException as error:
            self._save_after(error)
            raise
        self.save()

    def _iterate(self, stop: StopRequest, callbacks: Sequence[Callable[[Snapshot], None]]) -> None:
        started = time.perf_counter() - self.seconds
        evaluated = self.curve[-1].env_steps if self.curve else -1
        total, done, pace = self.config.iterations, self.iteration, PaceWarning()
        how: dict[str, Any] = {"description": "training", "silent": not self.hosts.reports}
        with CompileClock() as compiling, ProgressBar(total, initial=done, once=compiling, **how) as progress:
            if not self.done:
                progress.say("compiling; a second start is quicker")
            if self._due(self.config.eval.every) and evaluated < self.env_steps:
                metrics = self.evaluate()  # of fresh members, or the session before ended within that evaluation
                if self.iteration == 0:
                    self.records.write_beside(metrics)
            while not self.done and not self.hosts.stop(stop):
                first, count = self.iteration, self._next_call()
                self.members, rows = self.loop.run(self.members, first, count)
                rows = self.hosts.merged(rows)
                self.iteration += count
                try:
                    for i, metrics in enumerate(rows):
                        self.alarms.look(first + i + 1, metrics)
                    if self._due(self.config.eval.every):
                        rows[-1] |= self.evaluate()
                finally:  # the iterations are done, and what is saved of them includes their metrics
                    self.seconds = time.perf_counter() - started
                    rows[-1]["time/seconds"] = self.seconds
                    for i, metrics in enumerate(rows):
                        self.records.write(self.steps_after(first + i + 1), metrics)
                progress.update(count, summary.headline(self.everyone, rows[-1], "train"))
                if self.hosts.reports:
                    pace.look(progress)
                if self._due(self.config.run.checkpoint_every):
                    self.save()
                for callback in callbacks:
                    callback(Snapshot(self.iteration, self.env_steps, rows[-1], self.members))

    def _save_after(self, error: BaseException) -> None:
        """Saves the last whole iteration, and adds to the error how to go on from there."""
        if self.hosts.count > 1:
            logging.error("not saved: the other processes cannot save theirs, or are an iteration ahead")
        elif any(leaf.is_deleted() for leaf in jax.tree.leaves(self.members)):
            logging.error("iteration %d failed inside its program, which had consumed the state", self.iteration + 1)
        else:
            try:
                self.save()
            except Exception:
                logging.exception("the last whole iteration could not be saved")
        saved = self.records.latest()
        if saved is not None:
            error.add_note(f"{self.records.directory} is saved at iteration {saved}: resume=True goes on from there")

    def evaluate(self) -> dict[str, float]:
        """A point of the learning curve for every member."""
        episodes, _ = self.evaluator.students(self.members, self.config.eval.curve_episodes)
        points = summary.curve_points(self.everyone, self.env_steps, self._labels(), episodes)
        self.curve.extend(points)
        metrics = summary.flatten("eval", self.everyone, [point.metrics() for point in points])
        success = summary.headline(self.everyone, metrics, "eval")
        line = "  ".join(f"{name} {value:.2f}" for name, value in success.items())
        if self.hosts.reports:
            logging.info("success in evaluation after %s env steps a member: %s", f"{self.env_steps:,}", line)
        return metrics

    def save(self) -> None:
        """Writes a checkpoint of everything that `restore` needs."""
        host = {
            "iteration": self.iteration,
            "total_steps": self.config.algorithm.total_steps,
            "seconds": self.seconds,
            "ledgers": self.hosts.lists([dataclasses.asdict(ledger) for ledger in self.loop.ledgers]),
            "curve": [point._asdict() for point in self.curve],
            "alarms": self.alarms.state_dict(),
        }
        self.records.save(self.iteration, learned(self.members), self._train_state(), host)

    def restore(self, iteration: int | None = None) -> None:
        """Goes on from a checkpoint, by default the newest that is intact; without any the run starts anew."""
        stored = self.records.load(iteration)
        if stored is None:
            return
        params = from_paths(stored.params, learned(self.members), "params")
        state = from_paths(stored.train_state, self._train_state(), "train_state")
        members = MemberState(**params, **{name: state[name] for name in MEMBER_STATE})
        self.members = self.population.mesh.place(members)
        self.loop.load_state_dict(state["loop"])
        self.iteration, self.seconds = stored.host["iteration"], stored.host["seconds"]
        own = self.hosts.rows(len(self.everyone))
        self.loop.ledgers[:] = [Ledger(**ledger) for ledger in stored.host["ledgers"][own]]
        self.curve = [summary.CurvePoint(**point) for point in stored.host["curve"]]
        self.records.rewind(stored, self.env_steps)
        self.alarms.load_state_dict(stored.host["alarms"])
        warn_of_schedules(self.population, self.env_steps, stored.host["total_steps"])

    def result(self, signal: int | None) -> Result:
        """Evaluates everyone and writes table, curves and videos; leaves that out if a signal stopped the run."""
        table, directory = Table(), self.records.directory
        if signal is None:
            assessment = assess(self.evaluator, self.members, self.teacher, self.config.eval)
            cost = summary.Cost(self.env_steps, self._labels(), self.seconds)
            if self.teacher is not None and assessment.teacher is not None:
                self.alarms.look_at_teacher(assessment.teacher.success_once, self.teacher.spec.success)
            table = summary.rows(self.config.env.name, self.everyone, assessment, cost, self.alarms.notes())
            points = summary.curve_points(self.everyone, self.env_steps, cost.labels, assessment.students)
            if directory is not None:
                curve, films = [*self.curve, *points], assessment.films
                teacher, marks = assessment.teacher_spec, self.alarms.marks(self.steps_after)
                summary.write(directory, self.config, table, curve, films, teacher, marks=marks)
                self.records.flush()
                diagnostics.draw(directory, self.everyone, self.alarms)
                metrics = summary.flatten("eval", self.everyone, [point.metrics() for point in points])
                self.records.finish(self.env_steps, metrics, points[0].episodes)
        return Result(self.members, self.population, table, directory, signal, dict(self.alarms.diverged))

    def _labels(self) -> list[int]:
        """Teacher queries of each member, those of all processes."""
        return self.hosts.lists([ledger.labels for ledger in self.loop.ledgers])

    def _train_state(self) -> dict[str, Any]:
        state = {name: getattr(self.members, name) for name in MEMBER_STATE}
        return state | {"loop": self.loop.state_dict()}

    def _next_call(self) -> int:
        """Iterations until the next evaluation, checkpoint or end, but no more than the loop does at once."""
        every = [n for n in (self.config.eval.every, self.config.run.checkpoint_every) if n > 0]
        until = [n - self.iteration % n for n in every] + [self.config.iterations - self.iteration]
        return min(*until, self.loop.at_once)

    def _due(self, every: int) -> bool:
        return every > 0 and self.iteration % every == 0 and not self.done
