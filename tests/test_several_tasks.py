"""One population on two tasks: every row of every batch has the instruction of its own environment."""

import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.types import Instructions, TeacherLabels, TeacherSpec

TASKS = "tabletop:PushCube-v1,PullCube-v1"


class Told:
    """A teacher that is told what to do: it moves along x, away or back, as its row's instruction says."""

    spec = TeacherSpec("told", ("state",), None)

    def __init__(self, env):
        self.texts, self.batches = env.spec.instructions, []

    def label(self, observation, instructions, key):
        assert isinstance(instructions, Instructions) and instructions.texts == self.texts
        said = instructions.of_rows()
        assert len(said) == len(observation["state"])
        self.batches.append(said)
        action = np.zeros((len(said), 7), np.float32)
        action[:, 0] = [0.5 if text == self.texts[0] else -0.5 for text in said]
        return TeacherLabels(action, np.ones(len(said), bool), np.full_like(action, 0.1))


def make_config(directory):
    config = rpd_jax.get_preset("debug")
    config.env.name, config.env.num_envs, config.env.max_episode_steps = TASKS, 4, 6
    config.variants, config.seeds = ("rpd-mse", "sparse-rpd:window=2"), (0,)
    config.algorithm.rollout_length, config.algorithm.total_steps, config.algorithm.minibatches = 10, 40, 2
    config.teacher.batch_size = 7  # no multiple of the environments
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 4, 4, 0
    config.run.directory, config.run.tensorboard = str(directory), False
    return config


def test_training_on_two_tasks_at_once(tmp_path):
    told = []
    result = rpd_jax.train(make_config(tmp_path / "run"), lambda env: told.append(Told(env)) or told[-1])
    assert [row.variant for row in result.table] == ["teacher:told", "rpd-mse", "sparse-rpd:window=2"]
    teacher = told[0]
    push, pull = teacher.texts
    everything = [text for batch in teacher.batches for text in batch]
    assert abs(everything.count(push) - everything.count(pull)) <= 10  # sparse queries fall where they fall
    # dense batches of 7 go through the environments in turn
    assert teacher.batches[0] == [push, pull, push, pull, push, pull, push]
    assert teacher.batches[1] == [pull, push, pull, push, pull, push, pull]
    assert result.history[-1]["update/distill_mse/rpd-mse/0"] > 0


def test_members_must_have_the_same_tasks(tmp_path):
    config = make_config(tmp_path / "run")
    config.env.num_envs = 3
    with pytest.raises(ConfigError, match=r"env.num_envs=3 cannot work: it must be a multiple of the 2 tasks"):
        rpd_jax.train(config, Told)
    assert not (tmp_path / "run").exists()
