"""Records demonstrations of a teacher: a scripted one, or a saved student (--config.teacher.name=policy).

  python -m launch.collect --output=demos/pick --episodes=100 --config.env.image_size=256
  python -m launch.collect --output=demos/pick --config.env.name=maniskill:PickCube-v1 --config.teacher.noise=0
  python -m launch.collect --output=demos/pick --resume

--config is that of launch.train; env and teacher are used. The directory --output gets trajectory.h5 and
trajectory.json in ManiSkill's layout and dataset_statistics.json, or a LeRobot v3 data set. SIGTERM and Ctrl-C finish
the round and stop; `--resume` goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from absl import flags, logging

from launch.flags import define_config, run
from rpd_jax.demonstrations.collect import FORMATS, Settings, collect
from rpd_jax.training import make_teacher
from teachers.settings import teacher_factory

_DEFAULT = Settings()
_CONFIG = define_config("quickstart")
_OUTPUT = flags.DEFINE_string("output", None, "Directory for the data.", required=True)
_EPISODES = flags.DEFINE_integer("episodes", _DEFAULT.episodes, "Episodes to keep.")
_SUCCESSFUL = flags.DEFINE_bool("successful_only", _DEFAULT.successful_only, "Keep only those that end in success.")
_IMAGES = flags.DEFINE_bool("images", _DEFAULT.images, "Record frames of config.env.image_size pixels.")
_PERTURB = flags.DEFINE_float("perturb", _DEFAULT.perturb, "Std of the noise on executed, not on recorded actions.")
_HOLD = flags.DEFINE_integer("hold_steps", _DEFAULT.hold_steps, "Steps to record after the first success.")
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "All episodes follow from it.")
_NUM_ENVS = flags.DEFINE_integer("num_envs", _DEFAULT.num_envs, "Environments side by side.")
_FORMAT = flags.DEFINE_string("format", _DEFAULT.format, f"{' or '.join(FORMATS)}.")
_ATTEMPTS = flags.DEFINE_integer("attempts", _DEFAULT.attempts, "Episodes to try at most, for each one to keep.")
_RESUME = flags.DEFINE_bool("resume", False, "Go on with a collection that was interrupted.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Delete what was collected there before.")


def main(argv: Sequence[str]) -> None:
    config = _CONFIG.value
    settings = Settings(
        episodes=_EPISODES.value,
        successful_only=_SUCCESSFUL.value,
        images=_IMAGES.value,
        perturb=_PERTURB.value,
        hold_steps=_HOLD.value,
        seed=_SEED.value,
        num_envs=_NUM_ENVS.value,
        format=_FORMAT.value,
        attempts=_ATTEMPTS.value,
    )
    factory = teacher_factory(config.teacher)
    with contextlib.ExitStack() as stack:
        collected = collect(
            config,
            lambda env: make_teacher(factory, config, env, stack),
            settings,
            _OUTPUT.value,
            resume=_RESUME.value,
            overwrite=_OVERWRITE.value,
        )
    if collected.interrupted:
        logging.info("stopped with %d episodes in %s: --resume goes on", collected.kept, collected.directory)
        return
    rate = collected.succeeded / collected.attempted
    print(f"teacher: success in {collected.succeeded} of {collected.attempted} episodes attempted ({rate:.0%})")
    print(f"{collected.kept} episodes: {collected.directory}")


if __name__ == "__main__":
    run(main)
