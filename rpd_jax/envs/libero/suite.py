"""The suite "libero"."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs.base import VectorEnv
from rpd_jax.envs.libero import tasks
from rpd_jax.envs.libero.config import LiberoConfig
from rpd_jax.envs.suite import TaskInfo, task_of

VENV = ".venv-libero"  # where `make libero-env` puts it


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
        if config.python and not os.access(config.python, os.X_OK):
            raise ConfigError(
                f"env.python={config.python!r} cannot work: no interpreter is there; `make libero-env` makes "
                f"{VENV}/bin/python, which is found without this setting"
            )
        for entry in config.entries:
            if entry.startswith("rgb_") and entry not in tasks.CAMERAS:
                raise ConfigError(
                    f"env.observation={config.observation!r} cannot work: LIBERO's cameras are {list(tasks.CAMERAS)}"
                )

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        from rpd_jax.envs.libero.pool import LiberoVectorEnv

        assert isinstance(config, LiberoConfig)
        env = LiberoVectorEnv(
            config,
            seeds,
            drawn=[name for name in tasks.CAMERAS if name in config.entries or (rgb and name == "rgb")],
            end_on_success=end_on_success,
            random_ages=random_ages,
            python=config.python or found(),
        )
        if config.observation != "ee":
            return env
        from rpd_jax.envs.ee_vector import with_ee

        return with_ee(env, *tasks.EE)


def found() -> str | None:
    """The interpreter that `make libero-env` made, here or where the library lies; None where there is none."""
    for directory in (Path.cwd(), Path(__file__).resolve().parents[3]):
        python = directory / VENV / "bin" / "python"
        if python.exists():
            return str(python)
    return None


SUITE = LiberoSuite()
