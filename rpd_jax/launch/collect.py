"""Records demonstrations of a teacher: a scripted one, or a saved student (--config.teacher.name=policy).

  python -m launch.collect --output=demos/pick --episodes=100 --config.env.image_size=256
  python -m launch.collect --output=demos/pick --config.env.name=maniskill:PickCube-v1 --config.teacher.noise=0
  python -m launch.collect --output=demos/pick --resume

--config is that of launch.train; env and teacher are used. A teacher whose answers are chunks executes
config.teacher.replan_every actions of each, by default one, or the mean that config.teacher.ensemble makes of them. The
directory --output gets trajectory.h5 and trajectory.json in ManiSkill's layout and dataset_statistics.json, or
(--format=lerobot) a LeRobot v3 data set, without what only the simulator knows. SIGTERM and Ctrl-C finish the round and
stop; `--resume` goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import cast

from absl import flags, logging

from rpd_jax.demonstrations.collect import Settings, collect
from rpd_jax.envs.registry import check_env
from rpd_jax.launch.flag_groups import define_fields
from rpd_jax.launch.flags import define_config, run
from rpd_jax.launch.program import to_go_on
from rpd_jax.runs.interrupt import exit_status
from rpd_jax.training.setup import make_teacher
from rpd_jax.types import Teacher
from teachers.settings import teacher_factory

_CONFIG = define_config("quickstart")
_OUTPUT = flags.DEFINE_string("output", None, "Directory for the data.", required=True)
_SETTINGS = define_fields(Settings())
_RESUME = flags.DEFINE_bool("resume", False, "Go on with a collection that was interrupted.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete what was collected there before.")


def main(argv: Sequence[str]) -> int:
    config = _CONFIG.value
    factory = teacher_factory(config.teacher)
    check_env(config.validate().env)
    factory.look(config.env)
    with contextlib.ExitStack() as stack:
        collected = collect(
            config,
            lambda env: cast(Teacher, make_teacher(factory, config, env, stack)),
            _SETTINGS(),
            _OUTPUT.value,
            resume=_RESUME.value,
            overwrite=_OVERWRITE.value,
        )
    if collected.signal is not None:
        logging.info("stopped with %d episodes in %s; %s", collected.kept, collected.directory, to_go_on())
        return exit_status(collected.signal)
    rate = collected.succeeded / collected.attempted
    print(f"teacher: success in {collected.succeeded} of {collected.attempted} episodes attempted ({rate:.0%})")
    print(f"{collected.kept} episodes: {collected.directory}")
    return 0


if __name__ == "__main__":
    run(main)
