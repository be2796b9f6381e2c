"""Evaluates the checkpoint of a run: table, results.json and a video of students and teacher.

  python -m launch.evaluate --run=runs/quickstart
  python -m launch.evaluate --run=runs/quickstart --episodes=500 --env=maniskill:PickCube-v1 --output=somewhere

Everything goes into the directory `evaluation` of the run unless --output says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

import rpd_jax
from launch.flags import run
from rpd_jax.checkpoint import load_config
from teachers.settings import teacher_factory

_RUN = flags.DEFINE_string("run", None, "Run directory.", required=True)
_ENV = flags.DEFINE_string("env", "", "Another environment, suite:task; empty: the run's own.")
_EPISODES = flags.DEFINE_integer("episodes", 0, "Episodes per member; 0: as the run's config says.", lower_bound=0)
_VIDEOS = flags.DEFINE_integer("videos", None, "Filmed episodes per variant; none given: as configured.", lower_bound=0)
_ITERATION = flags.DEFINE_integer("iteration", None, "Of the checkpoint; none given: the newest.")
_TEACHER = flags.DEFINE_bool("teacher", True, "Evaluate the run's teacher as well.")
_OUTPUT = flags.DEFINE_string("output", "", "Directory for the results.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results that are there.")


def main(argv: Sequence[str]) -> None:
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
    output = Path(_OUTPUT.value or Path(_RUN.value) / "evaluation")
    print((output / "table.md").read_text())
    print(f"results: {output}")


if __name__ == "__main__":
    run(main)
