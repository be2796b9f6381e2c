"""The suite "maniskill": the tasks of `tasks.TASKS`, of which all is known, and whatever else ManiSkill has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rpd_jax.config import ConfigError, EnvConfig, choice
from rpd_jax.config.extras import need
from rpd_jax.envs import rewards
from rpd_jax.envs.base import VectorEnv, divided
from rpd_jax.envs.maniskill import tasks
from rpd_jax.envs.maniskill.config import ManiSkillConfig
from rpd_jax.envs.suite import SuiteCost, TaskInfo, task_of


class ManiSkillSuite:
    """See `suite.Suite`. Whether ManiSkill has a task that is not in the table only a simulator process can say."""

    cost = SuiteCost(memory=70e6, steps_per_second=274)

    def tasks(self) -> tuple[str, ...]:
        return tuple(tasks.TASKS)

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        config, facts = _narrowed(config), tasks.TASKS.get(task)
        steps = config.max_episode_steps or (facts and facts.max_episode_steps)
        camera = config.placed(facts and facts.camera)
        return TaskInfo(
            instructions=(config.instruction or tasks.instruction(task),),
            max_episode_steps=steps and config.horizon_scale * steps,
            control_mode=config.control_mode,
            contract=divided(tasks.contract(config.control_mode), config.horizon_scale),
            horizon_scale=config.horizon_scale,
            cameras={} if camera is None else {"rgb": camera},
            units=tasks.UNITS,
            axes=tasks.AXES,
            ee_objects=facts.ee_objects if facts else (),
            ee_goals=facts.ee_goals if facts else (),
        )

    def check(self, config: EnvConfig) -> None:
        config, task = _narrowed(config), task_of(config)
        if task in tasks.TASKS:  # others may have another robot
            choice("env.control_mode", config.control_mode, tasks.CONTROL_MODES)
        if config.horizon_scale > 1 and tasks.contract(config.control_mode) is None:
            raise ConfigError(
                f"env.horizon_scale={config.horizon_scale} cannot work with env.control_mode={config.control_mode!r}: "
                "only end-effector deltas (pd_ee_delta_pose) can be divided"
            )
        info = self.info(task, config)  # which refuses a camera that is not known
        if config.observation == "ee" and not info.ee_objects:
            raise ConfigError(f"env.observation='ee' cannot work in {task}: it can in {', '.join(tasks.TASKS)}")
        rewards.check(task, config.reward)

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        config, task = _narrowed(config), task_of(config)
        need("maniskill", f"env.name={config.name!r}")
        info = self.info(task, config)
        camera = info.cameras.get("rgb")
        settings: dict[str, Any] = {
            "random_ages": random_ages,
            "control_mode": config.control_mode,
            "reward_mode": config.reward,
            "observations": ("state", "rgb") if rgb else ("state",),
            "image_size": config.image_size,
            "max_episode_steps": config.max_episode_steps,
            "end_on_success": end_on_success,
            "deadline_s": config.deadline_seconds,
            "horizon_scale": config.horizon_scale,
            "instruction": config.instruction,
            "camera": camera if config.moves_camera else None,
        }
        env: VectorEnv
        if config.simulator == "gpu":
            from rpd_jax.envs.maniskill.gpu import ManiSkillGPUVectorEnv

            env = ManiSkillGPUVectorEnv(task, len(seeds), seeds, **settings)
        else:
            from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

            env = ManiSkillVectorEnv(task, len(seeds), seeds, processes=config.processes, **settings)
        env.spec = dataclasses.replace(env.spec, camera=camera)
        if config.observation != "ee":
            return env
        from rpd_jax.envs.ee_vector import with_ee

        return with_ee(env, info.ee_objects, info.ee_goals)


def _narrowed(config: EnvConfig) -> ManiSkillConfig:
    assert isinstance(config, ManiSkillConfig)
    return config


SUITE = ManiSkillSuite()
