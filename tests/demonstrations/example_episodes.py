"""Episodes for tests of files, which nobody played."""

from __future__ import annotations

import numpy as np

from rpd_jax.config import Config, EnvConfig, TeacherConfig
from rpd_jax.demonstrations.collect import Settings, describe
from rpd_jax.demonstrations.episode import DatasetInfo, Episode
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from teachers.base import load


def make_episode(length: int, seed: int, success: bool = True) -> Episode:
    """Random numbers, which follow from the seed."""
    generator = np.random.default_rng(seed)
    flags = np.arange(length) == length - 1
    return Episode(
        observation={
            "state": generator.standard_normal((length + 1, 6), np.float32),
            "proprio": generator.standard_normal((length + 1, 3), np.float32),
            "rgb": generator.integers(0, 256, (length + 1, 8, 8, 3), np.uint8),
        },
        action=generator.standard_normal((length, 7), np.float32),
        reward=generator.standard_normal(length, np.float32),
        terminated=flags & success,
        truncated=flags & (not success),
        success=flags & success,
        seed=seed,
        instruction="move to the goal",
        env_name="toy:Reach-v0",
    )


def make_info() -> DatasetInfo:
    """As a collection of the toy task has it."""
    env = FunctionalVectorEnv(Reach(), 2, [0, 1])
    config = Config(env=EnvConfig(name="toy:Reach-v0"), teacher=TeacherConfig(name="toy"))
    return describe(config, env, load("toy", env.spec), Settings())
