"""The suite "metaworld"."""

from __future__ import annotations

from collections.abc import Sequence

from rpd_jax.config import ConfigError, EnvConfig, choice
from rpd_jax.envs.base import VectorEnv
from rpd_jax.envs.metaworld import tasks
from rpd_jax.envs.metaworld.config import MetaWorldConfig
from rpd_jax.envs.suite import TaskInfo, task_of


class MetaWorldSuite:
    """See `suite.Suite`."""

    def tasks(self) -> tuple[str, ...]:
        return tasks.TASKS

    def members(self, task: str) -> tuple[str, ...]:
        """See `suite.Suite`: "MT10" means its ten tasks."""
        return tasks.SETS.get(task, (task,))

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        choice("env.name: metaworld task", task, tasks.TASKS)
        return TaskInfo(
            instructions=(config.instruction or tasks.instruction(task),),
            max_episode_steps=config.max_episode_steps or tasks.MAX_EPISODE_STEPS,
            control_mode=tasks.CONTROL_MODE,
            control_hz=tasks.CONTROL_HZ,
            success=tasks.SUCCESS,
            units=tasks.UNITS,
        )

    def check(self, config: EnvConfig) -> None:
        assert isinstance(config, MetaWorldConfig)
        self.info(task_of(config), config)
        tasks.VENV.check(config, tasks.CAMERAS)
        if config.observation == "ee":
            raise ConfigError(
                "env.observation='ee' cannot work in Meta-World: its hand does not turn, and its state has no pose of "
                "the tool; use state, or frames"
            )

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        from rpd_jax.envs.metaworld.pool import MetaWorldVectorEnv

        assert isinstance(config, MetaWorldConfig)
        return MetaWorldVectorEnv(config, seeds, rgb=rgb, end_on_success=end_on_success, random_ages=random_ages)


SUITE = MetaWorldSuite()
