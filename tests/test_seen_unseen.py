"""Checkpoints on the task of a run and on a held-out one: the start is among them, and there is a picture."""

import json

import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.training.forgetting import seen_unseen

SEEN, UNSEEN = "toy:ActionMatters-v0", "toy:ObservedReward-v0"


def configure(directory):
    config = rpd_jax.get_preset("debug")
    config.env.name, config.variants, config.algorithm.rollout_length = SEEN, ("ppo",), 10
    config.algorithm.total_steps, config.run.checkpoint_every = 2 * 8 * 10, 1
    config.run.directory, config.run.tensorboard = str(directory), False
    return config


@pytest.mark.slow
def test_every_checkpoint_and_the_start(tmp_path):
    rpd_jax.train(configure(tmp_path / "start"))
    config = configure(tmp_path / "run")
    config.algorithm.start, config.algorithm.learning_rate = str(tmp_path / "start"), 1e-9
    rpd_jax.train(config)
    points = seen_unseen(tmp_path / "run", [UNSEEN], tmp_path / "out", episodes=8)
    assert [(p["env"], p["seed"], p["iteration"]) for p in points] == [
        (env, seed, iteration) for env in (SEEN, UNSEEN) for iteration in (0, 1, 2) for seed in (0, 1)
    ]
    assert len({(p["env"], p["seed"], p["success_once"]) for p in points}) == 4  # nothing was learnt since the start
    assert json.loads((tmp_path / "out" / "seen_unseen.json").read_text()) == points
    assert (tmp_path / "out" / "seen_unseen.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="it must be environments other than toy:ActionMatters-v0"):
        seen_unseen(tmp_path / "run", [SEEN], tmp_path / "out")
