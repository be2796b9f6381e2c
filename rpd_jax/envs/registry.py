"""Environments by name: "suite:task"."""

from __future__ import annotations

from collections.abc import Sequence

from rpd_jax.config import ConfigError, EnvConfig, choice
from rpd_jax.envs.base import VectorEnv, episode_seed

SUITES = ("maniskill", "toy")


def check_env(config: EnvConfig) -> None:
    """Raises ConfigError for an unknown suite, task or control mode, without starting anything."""
    suite, _, task = config.name.partition(":")
    choice("env.name: suite", suite, SUITES)
    if suite == "maniskill":
        from rpd_jax.envs import maniskill_tasks

        choice("env.name: task", task, maniskill_tasks.TASKS)
        choice("env.control_mode", config.control_mode, maniskill_tasks.CONTROL_MODES)
    else:
        from rpd_jax.envs import toy

        choice("env.name: task", task, toy.TASKS)
        if config.observation != "state":
            raise ConfigError(f"env.observation={config.observation!r} cannot work: toy tasks have state only")


def make_env(config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool) -> VectorEnv:
    """Builds one environment for each seed.

    Args:
      config: names the task and how it is simulated; its `num_envs` is not used.
      seeds: base seeds; each environment's sequence of episodes is a function of its own.
      rgb: whether every observation holds a frame.
      end_on_success: whether success terminates an episode.

    Raises:
      ConfigError: the environment is unknown.
    """
    check_env(config)
    suite, _, task = config.name.partition(":")
    if suite == "maniskill":
        from rpd_jax.envs.maniskill import ManiSkillVectorEnv

        return ManiSkillVectorEnv(
            task,
            len(seeds),
            seeds,
            control_mode=config.control_mode,
            reward_mode=config.reward,
            observations=("state", "rgb") if rgb else ("state",),
            image_size=config.image_size,
            max_episode_steps=config.max_episode_steps,
            end_on_success=end_on_success,
            processes=config.processes,
            deadline_s=config.deadline_seconds,
        )
    from rpd_jax.envs import toy
    from rpd_jax.envs.functional import FunctionalVectorEnv

    return FunctionalVectorEnv(toy.make(task, config.max_episode_steps, end_on_success), len(seeds), seeds)


def env_seeds(seed: int, num_envs: int) -> list[int]:
    """Base seeds of the environments that belong to a seed: the same whatever else is simulated beside them."""
    return [episode_seed(seed, index) for index in range(num_envs)]
