"""Presets on LIBERO; they need `make libero-env`."""

from __future__ import annotations

from rpd_jax.config import Config
from rpd_jax.presets.distillation import sparse


def libero_quickstart() -> Config:
    """LIBERO's Object/0 from the state, reward at success only: RPD-MSE against PPO, at a scale that two cores allow.

    The scripted teacher knows where everything is, and its aim is off by noise. The settings are those of `sparse`,
    with batches of a sixteenth and episodes of 150 steps instead of 280; they were not tuned here.
    """
    config = sparse()
    config.variants = ("ppo", "rpd-mse:mse=20:anneal=exponential:anneal_end=0.1:name=rpd-mse")
    config.env.name = "libero:Object/0"
    config.env.reward, config.env.num_envs, config.env.max_episode_steps = "sparse", 8, 150
    ppo = config.algorithm
    ppo.total_steps, ppo.rollout_length, ppo.minibatches, ppo.gamma = 24_000, 50, 4, 0.98
    config.teacher.noise, config.teacher.aim_error = 0.3, 0.0
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 30, 16, 4, 2
    config.run.directory = "runs/libero-quickstart"
    return config
