"""Evaluates the checkpoint of a run, or a teacher by itself: table, results.json and a video.

  python -m launch.evaluate --run=runs/quickstart
  python -m launch.evaluate --run=runs/quickstart --episodes=500 --env=maniskill:PickCube-v1 --output=somewhere
  python -m launch.evaluate --preset=quickstart-vla --config.env.name=tabletop:PushCube-v1 --output=somewhere

With --run everything goes into the directory `evaluation` of the run unless --output says otherwise. Without it the
teacher of --preset and --config is evaluated in their environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

import rpd_jax
from launch.flags import define_config, run
from rpd_jax.checkpoint import load_config
from rpd_jax.config import ConfigError
from teachers.settings import teacher_factory

_CONFIG = define_config("quickstart")
_RUN = flags.DEFINE_string("run", "", "Run directory; empty: evaluate the teacher of --preset and --config.")
_ENV = flags.DEFINE_string("env", "", "Another environment, suite:task; empty: the run's own.")
_EPISODES = flags.DEFINE_integer("episodes", 0, "Episodes per member; 0: as the run's config says.", lower_bound=0)
_VIDEOS = flags.DEFINE_integer("videos", None, "Filmed episodes per variant; none given: as configured.", lower_bound=0)
_ITERATION = flags.DEFINE_integer("iteration", None, "Of the checkpoint; none given: the newest.")
_TEACHER = flags.DEFINE_bool("teacher", True, "Evaluate the run's teacher as well.")
_OUTPUT = flags.DEFINE_string("output", "", "Directory for the results.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results that are there.")


def main(argv: Sequence[str]) -> None:
    if not _RUN.value:
        evaluate_teacher()
        return
    config = load_config(_RUN.value)
    rpd_jax.evaluate(
        _RUN.value,
        teacher_factory(config.teacher) if _TEACHER.value else None,
        env=_ENV.value,
        episodes=_EPISODES.value,
        videos=_VIDEOS.value,
        iteration=_ITERATION.value,
        output=_OUTPUT.value,
        overwrite=_OVERWRITE.value,
    )
    show(Path(_OUTPUT.value or Path(_RUN.value) / "evaluation"))


def evaluate_teacher() -> None:
    config = _CONFIG.value
    if not _OUTPUT.value:
        raise ConfigError("--output is missing: say where the results are to go, or name a run with --run")
    config.env.name = _ENV.value or config.env.name
    config.eval.episodes = _EPISODES.value or config.eval.episodes
    config.eval.videos = config.eval.videos if _VIDEOS.value is None else _VIDEOS.value
    rpd_jax.evaluate_teacher(config, teacher_factory(config.teacher), _OUTPUT.value, overwrite=_OVERWRITE.value)
    show(Path(_OUTPUT.value))


def show(output: Path) -> None:
    print((output / "table.md").read_text())
    print(f"results: {output}")


if __name__ == "__main__":
    run(main)
