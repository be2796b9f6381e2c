"""A student of the tabletop suite acts in ManiSkill as it is."""

import json

import pytest

import rpd_jax

pytestmark = [pytest.mark.vulkan, pytest.mark.slow]


def test_a_tabletop_student_acts_in_maniskill(tmp_path):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("ppo",), (0,)
    config.env.name, config.env.observation, config.env.physics = "tabletop:PickCube-v1", "ee", "c"
    config.env.num_envs, config.env.max_episode_steps = 2, 5
    config.network.hidden, config.network.normalize_observations = (8,), True
    config.algorithm.rollout_length, config.algorithm.total_steps, config.algorithm.minibatches = 4, 16, 2
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 2, 2, 0
    config.run.directory, config.run.tensorboard = str(tmp_path / "run"), False
    rpd_jax.train(config.validate())

    (row,) = rpd_jax.evaluate(tmp_path / "run", env="maniskill:PickCube-v1")
    assert row.env == "maniskill:PickCube-v1" and row.variant == "ppo"
    # rewards of coming near are never zero: five real steps were made
    assert 0.0 < row.episode_return < 5.0
    written = json.loads((tmp_path / "run" / "evaluation" / "results.json").read_text())
    assert written["config"]["env"]["name"] == "maniskill:PickCube-v1"
