"""Runs a comparison: tuning, choice and final runs of every case; what is done is skipped, what was cut goes on.

Nothing is remembered but the runs themselves, which resume exactly, so that kills change nothing in the tables.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from rpd_jax.algorithms.variants import resolved
from rpd_jax.comparison.checks import unrelated_labels, without_effect
from rpd_jax.comparison.experiment import Case, Experiment
from rpd_jax.comparison.outcome import (
    FINAL,
    TUNING,
    CaseOutcome,
    chosen_settings,
    is_still_rising,
    read_case,
)
from rpd_jax.config import Config, TeacherConfig
from rpd_jax.ipc.sidecar import die_with_parent
from rpd_jax.report.results import RESULTS_FILE, read_results
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.runs.interrupt import exit_status, stop_on_signal
from rpd_jax.training.trainer import train

CHECKS_FILE = "checks.json"

MakeTeacher = Callable[[TeacherConfig], Any]
"""Makes what `train` takes as its teacher from a config's section."""


class Stopped(Exception):
    """A signal stopped a run; the comparison goes on from there when it is called again."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


def compare(
    experiment: Experiment, root: Path | str, make_teacher: MakeTeacher, cases: Sequence[str] = ()
) -> list[CaseOutcome]:
    """Runs what is not done of the cases (empty: all) and returns the outcomes of those that are whole.

    Raises:
      Stopped: a signal came.
      ConfigError, TeacherError, RuntimeError: as `train`.
    """
    root = Path(root)
    wanted = [experiment.case(name) for name in cases] or list(experiment.cases)
    for number, case in enumerate(wanted):
        logging.info("case %s, %d of %d of %s", case.name, number + 1, len(wanted), experiment.name)
        run_case(experiment, case, root, make_teacher)
    return [outcome for case in experiment.cases if (outcome := read_case(experiment, case, root)) is not None]


def run_case(experiment: Experiment, case: Case, root: Path, make_teacher: MakeTeacher) -> None:
    """The runs of one case, in order; see `compare`."""
    folder = root / case.name
    if experiment.tuned:
        tuning = experiment.tuning(case, str(folder / TUNING))
        tuning.eval.videos = 0
        _check_terms(tuning, folder, make_teacher)
        finish(tuning, make_teacher)
    chosen = chosen_settings(experiment, folder)
    for steps in experiment.budgets:
        final = experiment.final(case, chosen, steps, str(folder / FINAL.format(steps=steps)))
        if not experiment.tuned and steps == experiment.budgets[0]:
            _check_terms(final, folder, make_teacher)
        finish(final, make_teacher)
        if not is_still_rising(Path(final.run.directory)):
            return


def finish(config: Config, make_teacher: MakeTeacher) -> None:
    """Trains a run to its end unless it is done. Raises Stopped where a signal comes first."""
    path = Path(config.run.directory)
    if (path / RESULTS_FILE).is_file():
        stored, wanted = dict(read_results(path / RESULTS_FILE).config), json.loads(resolved(config).to_json())
        if stored | {"run": None} == wanted | {"run": None}:
            return
    with stop_on_signal() as stop:  # a run that was at its end says nothing of a signal
        train(config, make_teacher(config.teacher), resume=True)
    if stop.signal is not None:
        raise Stopped(stop.signal)


def _check_terms(config: Config, folder: Path, make_teacher: MakeTeacher) -> None:
    """Notes, once, which variants' terms have no effect."""
    path = folder / CHECKS_FILE
    if path.is_file():
        return
    idle = without_effect(config, make_teacher(config.teacher))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"without_effect": idle})


def problems(experiment: Experiment, root: Path, outcomes: Sequence[CaseOutcome]) -> list[str]:
    """What the comparison's own checks found: a sentence each, empty where all is well."""
    found = []
    for outcome in outcomes:
        folder = root / outcome.case.name
        idle = read_json(folder / CHECKS_FILE)["without_effect"] if (folder / CHECKS_FILE).is_file() else []
        said = [f"{name}: its distillation terms change nothing" for name in idle]
        run = folder / (TUNING if experiment.tuned else FINAL.format(steps=outcome.steps))
        said += unrelated_labels(experiment, run, experiment.tuned)
        found += [f"{outcome.case.name}: {each}" for each in said]
    return found


def in_processes(cases: Sequence[str], processes: int, command: Sequence[str]) -> int:
    """Runs `command --worker=CASE` for every case, so many at a time; returns the worst exit status.

    They share what JAX takes of a GPU's memory. A signal that ends this process is passed on, once: a second one would
    not let a run finish its iteration. Should it be killed, the kernel kills them (on Linux).
    """
    share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.75 / processes:.3f}"} | os.environ
    ends = functools.partial(die_with_parent, os.getpid()) if sys.platform == "linux" else None
    waiting, running, worst, told = list(cases), list[subprocess.Popen[bytes]](), 0, False
    with stop_on_signal() as stop:
        while running or (waiting and not stop):
            while waiting and not stop and len(running) < processes:
                # In a group of its own: a terminal's Ctrl-C would reach it besides.
                case = [*command, f"--worker={waiting.pop(0)}"]
                running.append(subprocess.Popen(case, start_new_session=True, env=share, preexec_fn=ends))
            time.sleep(0.2)
            if stop.signal is not None and not told:
                told = True
                for child in running:
                    child.send_signal(stop.signal)
            for child in [child for child in running if child.poll() is not None]:
                running.remove(child)
                worst = max(worst, 1 if child.returncode < 0 else child.returncode)
    return worst if stop.signal is None else exit_status(stop.signal)
