"""`train(env=...)`: an environment of the caller's own, in one program or on the host; and what the result gives."""

import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from teachers.base import load


def make_config(directory):
    config = rpd_jax.get_preset("debug")
    config.env.max_episode_steps = None  # the environment's own affair
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.algorithm.total_steps = 2 * 8 * 20
    config.eval.every, config.eval.episodes, config.eval.num_envs = 0, 4, 4
    config.run.directory, config.run.tensorboard, config.eval.videos = str(directory), False, 0
    return config


def made(seeds, *, rgb, end_on_success, random_ages):
    return FunctionalVectorEnv(Reach(12, end_on_success), len(seeds), seeds, random_ages=random_ages)


@pytest.mark.parametrize("env", [pytest.param(Reach(12), marks=pytest.mark.slow), made], ids=["functional", "factory"])
def test_training_resuming_and_acting(tmp_path, env):
    def teacher(environment):
        return load("toy", environment.spec)

    config = make_config(tmp_path / "run")
    result = rpd_jax.train(config, teacher, env=env)
    assert [row.variant for row in result.table] == ["teacher:toy:Reach-v0", "ppo", "rpd-mse"]
    assert result.table[0].env == "own:Reach-v0" and config.env.name == "toy:Reach-v0"
    config.algorithm.total_steps *= 2
    resumed = rpd_jax.train(config, teacher, env=env, resume=True)
    assert len(resumed.history) == 4
    student = resumed.student("rpd-mse", seed=0)
    state = np.zeros(6, np.float32)
    assert student.act({"state": state}).shape == (7,) and student.act({"state": state[None]}).shape == (1, 7)
    with pytest.raises(ConfigError, match="variant is missing: choose from ppo, rpd-mse"):
        resumed.student()
    with pytest.raises(ConfigError, match="caller's own environment; pass it as env="):
        rpd_jax.evaluate(tmp_path / "run")


def test_what_is_no_environment_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="env=int cannot work: it must be a FunctionalEnv, or a function"):
        rpd_jax.train(make_config(tmp_path / "run"), load("toy", Reach().spec), env=3)
    assert not (tmp_path / "run").exists()
