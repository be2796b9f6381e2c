"""The suite "libero"."""

from __future__ import annotations

from collections.abc import Sequence

from rpd_jax.config import EnvConfig
from rpd_jax.envs.base import VectorEnv
from rpd_jax.envs.libero import tasks
from rpd_jax.envs.libero.config import LiberoConfig
from rpd_jax.envs.suite import TaskInfo, task_of

found = tasks.VENV.found  # the interpreter that `make libero-env` made


class LiberoSuite:
    """See `suite.Suite`."""

    def tasks(self) -> tuple[str, ...]:
        return tuple(name for group in tasks.GROUPS for name in tasks.names(group))

    def members(self, task: str) -> tuple[str, ...]:
        """See `suite.Suite`: "Spatial" means its ten tasks."""
        return tasks.names(task) if task in tasks.GROUPS else (task,)

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        group, _ = tasks.parse(task)
        return TaskInfo(
            instructions=(config.instruction,) if config.instruction else (),
            max_episode_steps=config.max_episode_steps or group.max_episode_steps,
            control_mode="osc_pose",
            contract=tasks.CONTRACT,
            control_hz=tasks.CONTROL_HZ,
            ee_objects=tasks.EE[0],
            ee_goals=tasks.EE[1],
            frames=tuple(tasks.CAMERAS),
            success=tasks.SUCCESS,
        )

    def check(self, config: EnvConfig) -> None:
        assert isinstance(config, LiberoConfig)
        tasks.parse(task_of(config))
        tasks.VENV.check(config, tasks.CAMERAS)

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        from rpd_jax.envs.libero.pool import LiberoVectorEnv

        assert isinstance(config, LiberoConfig)
        env = LiberoVectorEnv(config, seeds, rgb=rgb, end_on_success=end_on_success, random_ages=random_ages)
        if config.observation != "ee":
            return env
        from rpd_jax.envs.ee_vector import with_ee

        return with_ee(env, *tasks.EE)


SUITE = LiberoSuite()
