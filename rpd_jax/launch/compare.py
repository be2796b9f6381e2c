"""Compares variants fairly: every arm tunes the same number of settings, then trains with fresh seeds.

  python -m launch.compare --experiment=rpd-losses
  python -m launch.compare --experiment=rpd-tasks --case=pick-cube-dense --output=runs/compare/rpd-tasks
  python -m launch.compare --experiment=rpd-tasks --scale=paper --config.teacher.name=octo --config.teacher.path=PATH
  python -m launch.compare --list

The output directory gets a directory for each case with its runs, and report.md, comparison.json, table.csv, table.tex
and pictures of what is done. What is done is skipped and what was cut goes on, so that the same command resumes.
--processes=N runs N cases at a time, each in a process of its own; at laptop scale two, since one leaves a second core
idle for a part of the time. --ray=HOST:PORT runs them on a Ray cluster whose nodes share this directory, --ray alone on
a Ray of this machine.

Exit status: 0 done; 1 a run failed; 2 wrong arguments; 3 done, but the comparison's own checks found something; 128 + n
stopped by signal n.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from logging import LogRecord
from pathlib import Path

from absl import flags, logging

from rpd_jax import runtime
from rpd_jax.comparison import published, report, runner
from rpd_jax.comparison.experiment import Experiment
from rpd_jax.config import Config
from rpd_jax.config.teacher import RayPlacement
from rpd_jax.config.validation import choice
from rpd_jax.experiments import EXPERIMENTS, get_experiment
from rpd_jax.launch import program
from rpd_jax.launch.flags import define_optional, define_overrides, run, values_of
from rpd_jax.launch.on_ray import on_ray
from rpd_jax.report.table import render
from rpd_jax.runs.interrupt import exit_status
from teachers.settings import teacher_factory

LAPTOP = "laptop"


def requested(arguments: Sequence[str]) -> Config:
    """The settings that all cases of the experiment share, which the command line names."""
    name, scale = values_of("experiment", arguments), [LAPTOP, *values_of("scale", arguments)]
    return get_experiment(name[-1], scale[-1]).config if name else Config()


_CONFIG = define_overrides(Config, requested)
_EXPERIMENT = flags.DEFINE_string("experiment", "", "Its name, see --list.")
_SCALE = flags.DEFINE_enum("scale", LAPTOP, [LAPTOP, "paper"], "For two CPU cores, or as published, for GPUs.")
_CASES = flags.DEFINE_multi_string("case", [], "Only these cases; given several times.")
_OUTPUT = flags.DEFINE_string("output", "", "Directory; empty: runs/compare/EXPERIMENT-SCALE.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Cases at a time; not given: see above.", lower_bound=1)
_WORKER = flags.DEFINE_string("worker", "", "What --processes and --ray start: runs this case and reports nothing.")
_PUBLISH = flags.DEFINE_string("publish", "", "Folder to copy report and pictures into, with a table of all claims.")
_RAY = define_optional("ray", "Run the cases on a Ray cluster, HOST:PORT; without an address on this machine's own.")
_CPUS = flags.DEFINE_float("ray_cpus", 2.0, "Cores that Ray reserves for a case.", lower_bound=0)
_GPUS = flags.DEFINE_float("ray_gpus", 0.0, "GPUs of a case.", lower_bound=0)
_LIST = flags.DEFINE_bool("list", False, "Show the experiments and how long they take.")

SUSPICIOUS = 3
APART = ("--publish", "--output", "--processes", "--ray")
"""Flags that change nothing in a comparison's result: reports leave them out of the command that made them."""


def main(argv: Sequence[str]) -> int:
    if _LIST.value:
        rows = [
            (name, scale, f"{each.minutes} min" if each.minutes < 120 else f"{each.minutes / 60:.0f} h", each.title)
            for (name, scale), make in EXPERIMENTS.items()
            for each in [make()]
        ]
        print(render(("experiment", "scale", "estimate", "question"), rows))
        return 0
    choice("--experiment", _EXPERIMENT.value, sorted({name for name, _ in EXPERIMENTS}))
    experiment = dataclasses.replace(get_experiment(_EXPERIMENT.value, _SCALE.value), config=_CONFIG.value)
    root = Path(_OUTPUT.value or f"runs/compare/{experiment.name}-{_SCALE.value}")
    if _WORKER.value:
        return _worker(experiment, root, _WORKER.value)
    cases = [experiment.case(name).name for name in _CASES.value] or [case.name for case in experiment.cases]
    at_once = min(2, runtime.available_cores()) if _SCALE.value == LAPTOP else 1
    processes = min(_PROCESSES.value or at_once, len(cases))
    if _RAY.value or processes > 1:
        command = [sys.executable, "-m", "rpd_jax.launch", "compare", *program.invocation()[1]]
        if not _RAY.value:
            status = runner.in_processes(cases, processes, command)
        else:
            address = _RAY.value if isinstance(_RAY.value, str) else ""
            placement = RayPlacement(address=address, cpus=_CPUS.value, gpus=_GPUS.value)
            status = on_ray(cases, command, placement)
        if status > 128:
            print(f"stopped by signal {status - 128}; to go on: {program.again()}", file=sys.stderr)
        if status != 0:
            return status
    try:
        outcomes = runner.compare(experiment, root, teacher_factory, _CASES.value)
    except runner.Stopped as stopped:
        print(f"{stopped}; to go on: {program.again()}", file=sys.stderr)
        return exit_status(stopped.signal)
    found = runner.problems(experiment, root, outcomes)
    print(report.write(experiment, root, outcomes, found, program.again(without=APART)))
    print(f"report, tables and pictures: {published.publish(root, _PUBLISH.value) if _PUBLISH.value else root}")
    return SUSPICIOUS if found else 0


def _worker(experiment: Experiment, root: Path, case: str) -> int:
    """Runs one case for a process that reports on all of them, and says in every line which it is."""

    def naming(record: LogRecord) -> bool:
        record.msg = f"{case.replace('%', '%%')}: {record.msg}"
        return True

    logging.get_absl_logger().addFilter(naming)
    try:
        runner.run_case(experiment, experiment.case(case), root, teacher_factory)
    except runner.Stopped as stopped:
        return exit_status(stopped.signal)
    return 0


if __name__ == "__main__":
    run(main)
