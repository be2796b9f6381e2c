"""Programs that have switched 64-bit numbers on: environments keep their dtypes, and training works."""

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.tabletop.tasks import TASKS
from rpd_jax.envs.toy.probes import PROBES
from rpd_jax.envs.toy.reach import Reach
from teachers.settings import teacher_factory


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


TABLETOP = [task if task == "PushCube-v1" else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]


@pytest.mark.parametrize("make", [Reach, *PROBES.values()])
def test_toys_keep_their_dtypes(make):
    check(make())


@pytest.mark.parametrize("task", TABLETOP)
def test_tabletop_keeps_its_dtypes(task):
    check(TabletopEnv(task, max_episode_steps=2))


def check(env):
    vector = FunctionalVectorEnv(env, 2, [0, 1])
    observation = vector.reset()
    for _ in range(3):  # over an episode's end
        assert {k: x.dtype.name for k, x in observation.items()} == {
            k: x.dtype for k, x in env.spec.observation.items()
        }
        assert set(env.spec.observation) == set(observation) and "float64" not in str(env.spec)
        result = vector.step(np.zeros((2, env.spec.action_dim)))
        assert result.reward.dtype == np.float32
        observation = result.observation


@pytest.mark.parametrize("name", ["toy:Reach-v0", pytest.param("tabletop:PushCube-v1", marks=pytest.mark.slow)])
def test_training_works(name, tmp_path):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.env.name, config.env.num_envs = name, 2
    config.network.normalize_observations = True
    config.teacher.name = "toy" if name.startswith("toy") else "scripted"
    config.algorithm.rollout_length, config.algorithm.total_steps = 10, 40
    config.eval.episodes = config.eval.num_envs = config.eval.curve_episodes = 2
    config.run.directory, config.run.tensorboard = str(tmp_path / "run"), False
    result = rpd_jax.train(config, teacher_factory(config.teacher))
    assert len(result.table) == 3
    assert len(rpd_jax.evaluate(config.run.directory, videos=0)) == 2
    for leaf in jax.tree.leaves(result.params):
        assert leaf.dtype == np.float32 and np.isfinite(leaf).all()
