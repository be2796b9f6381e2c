"""Evaluates the checkpoint of a run, or a teacher by itself: table, results.json and a video.

  python -m launch.evaluate --run=runs/quickstart
  python -m launch.evaluate --run=runs/quickstart --episodes=500 --env=maniskill:PickCube-v1 --output=somewhere
  python -m launch.evaluate --preset=quickstart-vla --config.env.name=tabletop:PushCube-v1 --output=somewhere
  python -m launch.evaluate --teacher=scripted --env=libero:Object --episodes=50

With --run everything goes into the directory `evaluation` of the run unless --output says otherwise. The run's teacher
is evaluated as well, but nothing that the run's config names is started, connected to or fetched unless --teacher says
so. Without --run the teacher of --preset and --config is evaluated in their environment. A teacher whose answers are
chunks executes --config.teacher.replan_every actions of each, by default one, or the mean that
--config.teacher.ensemble makes of them.

A set of tasks (libero:Spatial) is evaluated task by task in the published protocol: episodes end at success, a row for
each task. With --resume one that was killed goes on where it stood.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

import rpd_jax
from rpd_jax.config import TeacherConfig
from rpd_jax.envs.registry import tasks_of
from rpd_jax.launch.flags import define_config, define_optional, run
from rpd_jax.launch.showing import show_results
from rpd_jax.runs.checkpoint import load_config
from rpd_jax.runs.directory import EVALUATION
from rpd_jax.students import results_directory
from rpd_jax.training.reevaluation import adapted
from rpd_jax.training.setup import TeacherFactory
from teachers.settings import teacher_factory

_CONFIG = define_config("quickstart")
_RUN = flags.DEFINE_string("run", "", "Run directory; empty: evaluate the teacher of --preset and --config.")
_ENV = flags.DEFINE_string("env", "", "Another environment, suite:task; empty: the run's own.")
_EPISODES = flags.DEFINE_integer("episodes", 0, "Episodes per member; 0: as the run's config says.", lower_bound=0)
_VIDEOS = flags.DEFINE_integer("videos", None, "Filmed episodes per variant; none given: as configured.", lower_bound=0)
_ITERATION = flags.DEFINE_integer("iteration", None, "Of the checkpoint; none given: the newest.")
_TEACHER = define_optional(
    "teacher",
    "Evaluate the run's teacher as well; by default if that starts, connects to and fetches nothing. Or the name of "
    "another kind of teacher, with its default settings.",
)
_OUTPUT = flags.DEFINE_string(
    "output", "", "Directory for the results; empty: in the run, or runs/evaluations/TEACHER-ENV."
)
_RESUME = flags.DEFINE_bool("resume", False, "Go on with the evaluation of a set of tasks.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results that are there.")


def main(argv: Sequence[str]) -> None:
    if not _RUN.value:
        evaluate_teacher()
        return
    config = load_config(_RUN.value)
    teacher = run_teacher(config.teacher)
    target = Path(_OUTPUT.value or results_directory(_RUN.value, EVALUATION))
    config = adapted(config, _ENV.value, _EPISODES.value, _VIDEOS.value)
    if len(tasks_of(config.env)) > 1:
        rpd_jax.evaluate_suite(
            config,
            teacher,
            target,
            run=_RUN.value,
            iteration=_ITERATION.value,
            resume=_RESUME.value,
            overwrite=_OVERWRITE.value,
        )
        show(target)
        return
    rpd_jax.evaluate(
        _RUN.value,
        teacher,
        env=_ENV.value,
        episodes=_EPISODES.value,
        videos=_VIDEOS.value,
        iteration=_ITERATION.value,
        output=_OUTPUT.value,
        overwrite=_OVERWRITE.value,
    )
    show(target)


def run_teacher(config: TeacherConfig) -> TeacherFactory | None:
    """The teacher that a run's config names, unless it is not wanted or would reach out of this process unasked."""
    if isinstance(_TEACHER.value, str):
        return teacher_factory(TeacherConfig(name=_TEACHER.value))
    outside = config.reaches()
    if _TEACHER.value is None and outside:
        logging.warning("the run's teacher (%s) is left out, since it %s: --teacher allows that", config.name, outside)
    elif _TEACHER.value and outside:
        logging.info("the run's teacher (%s) %s", config.name, outside)
    wanted = not outside if _TEACHER.value is None else _TEACHER.value
    return teacher_factory(config) if wanted else None


def evaluate_teacher() -> None:
    config = _CONFIG.value
    config = adapted(config, _ENV.value, _EPISODES.value, _VIDEOS.value)
    if isinstance(_TEACHER.value, str):
        config.teacher = TeacherConfig(name=_TEACHER.value)
    teacher = teacher_factory(config.teacher)
    plain = re.sub(r"[^\w-]+", "-", f"{config.teacher.name}-{config.env.name}")
    target = Path(_OUTPUT.value or Path("runs") / "evaluations" / plain)
    if len(tasks_of(config.env)) > 1:
        rpd_jax.evaluate_suite(config, teacher, target, resume=_RESUME.value, overwrite=_OVERWRITE.value)
    else:
        rpd_jax.evaluate_teacher(config, teacher, target, overwrite=_OVERWRITE.value)
    show(target)


def show(output: Path) -> None:
    show_results(output)
    print(f"results: {output}")


if __name__ == "__main__":
    run(main)
