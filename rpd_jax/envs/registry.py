"""Environments by name: "suite:task"."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rpd_jax.config import REWARDS, ConfigError, EnvConfig, choice
from rpd_jax.envs import rewards
from rpd_jax.envs.base import FunctionalEnv, VectorEnv, divided, episode_seed
from rpd_jax.types import ActionContract

if TYPE_CHECKING:
    from rpd_jax.envs.tabletop.scene import Camera

SUITES = ("tabletop", "maniskill", "toy")
CAMERA = ("camera_eye", "camera_target", "camera_fov", "camera_shift")  # fields of EnvConfig
KNOWN_TO: Mapping[str, tuple[str, ...]] = {
    "physics": ("tabletop",),
    "simulator": ("maniskill",),
    **dict.fromkeys((*CAMERA, "horizon_scale", "instruction"), ("maniskill", "tabletop")),
}
"""Field of EnvConfig -> the suites that know it; all suites know those that are not here."""


def check_env(config: EnvConfig) -> None:
    """Raises ConfigError for what the environment's suite does not know, without starting anything."""
    suite, _, task = config.name.partition(":")
    choice("env.name: suite", suite, SUITES)
    choice("env.reward", config.reward, REWARDS)
    known = applicable(config)
    for field, suites in KNOWN_TO.items():
        value = getattr(config, field)
        if value != getattr(known, field):
            owners = " and ".join(f"{name}'s" for name in suites)
            raise ConfigError(f"env.{field}={value!r} cannot work: {suite} tasks have no such setting, {owners} do")
    if suite == "maniskill":
        from rpd_jax.envs.maniskill import tasks as maniskill_tasks

        choice("env.name: task", task, maniskill_tasks.TASKS)
        choice("env.control_mode", config.control_mode, maniskill_tasks.CONTROL_MODES)
        if config.horizon_scale > 1 and maniskill_tasks.contract(config.control_mode) is None:
            raise ConfigError(
                f"env.horizon_scale={config.horizon_scale} cannot work with env.control_mode={config.control_mode!r}: "
                "only end-effector deltas (pd_ee_delta_pose) can be divided"
            )
        if config.observation == "ee":
            from rpd_jax.envs.tabletop import tasks

            known_to_both = [name for name in maniskill_tasks.TASKS if name in tasks.TASKS]
            if task not in known_to_both:
                raise ConfigError(f"env.observation='ee' cannot work in {task}: it can in {', '.join(known_to_both)}")
    elif suite == "tabletop":
        from rpd_jax.envs.tabletop import tasks

        choice("env.name: task", task, tasks.TASKS)
        choice("env.control_mode", config.control_mode, ("pd_ee_delta_pose",))
    else:
        from rpd_jax.envs import toy

        choice("env.name: task", task, toy.TASKS)
        if config.observation != "state":
            raise ConfigError(f"env.observation={config.observation!r} cannot work: toy tasks have state only")
    rewards.check(task, config.reward)


def applicable(config: EnvConfig) -> EnvConfig:
    """The config with settings that the environment's suite does not know at their defaults."""
    suite, defaults = config.name.partition(":")[0], EnvConfig()
    foreign = [field for field, suites in KNOWN_TO.items() if suite not in suites]
    return dataclasses.replace(config, **{field: getattr(defaults, field) for field in foreign})


def contract(config: EnvConfig) -> ActionContract | None:
    """What the environment's actions mean, without starting anything; None where they are no end-effector deltas.

    Raises ConfigError for an unknown environment.
    """
    check_env(config)
    suite, _, task = config.name.partition(":")
    if suite == "maniskill":
        from rpd_jax.envs.maniskill import tasks as maniskill_tasks

        return divided(maniskill_tasks.contract(config.control_mode), config.horizon_scale)
    if suite == "tabletop":
        from rpd_jax.envs.tabletop import hand

        return divided(hand.CONTRACT, config.horizon_scale)
    from rpd_jax.envs import toy

    return toy.make(task, None, True).spec.contract


def episode_steps(config: EnvConfig) -> int:
    """The most steps of an episode, without starting anything; raises ConfigError for an unknown environment."""
    check_env(config)
    suite, _, task = config.name.partition(":")
    if suite == "maniskill":
        from rpd_jax.envs.maniskill import tasks as maniskill_tasks

        return config.horizon_scale * (config.max_episode_steps or maniskill_tasks.TASKS[task].max_episode_steps)
    if suite == "tabletop":
        from rpd_jax.envs.tabletop import tasks

        return config.horizon_scale * (config.max_episode_steps or tasks.load(task).max_episode_steps)
    from rpd_jax.envs import toy

    return toy.make(task, config.max_episode_steps, True).spec.max_episode_steps


def random_ages(config: EnvConfig, rollout_length: int, steps: int) -> bool:
    """Whether environments to train in begin at random ages: as set, or else where rollouts are shorter than episodes.

    There, environments that all begin together would give batches of one phase of the episode each. `steps` is the most
    steps of an episode.
    """
    return rollout_length < steps if config.random_ages is None else config.random_ages


def unsettled_iterations(config: EnvConfig, rollout_length: int, steps: int) -> int:
    """Rollouts until every first episode that began at a random age has ended: until then all phases are early ones."""
    return math.ceil(steps / rollout_length) if random_ages(config, rollout_length, steps) else 0


def make_env(
    config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool = False
) -> VectorEnv:
    """Builds one environment for each seed.

    Args:
      config: names the task and how it is simulated; its `num_envs` is not used.
      seeds: base seeds; each environment's sequence of episodes is a function of its own.
      rgb: whether every observation holds a frame.
      end_on_success: whether success terminates an episode.
      random_ages: whether first episodes are cut short, see `base.first_ages`; not for evaluation.

    Raises:
      ConfigError: the environment is unknown.
    """
    check_env(config)
    suite, _, task = config.name.partition(":")
    if suite == "maniskill":
        camera = _camera(config, task)
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
            "camera": camera if any(getattr(config, field) for field in CAMERA) else None,
        }
        env: VectorEnv
        if config.simulator == "gpu":
            from rpd_jax.envs.maniskill.gpu import ManiSkillGPUVectorEnv

            env = ManiSkillGPUVectorEnv(task, len(seeds), seeds, **settings)
        else:
            from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

            env = ManiSkillVectorEnv(task, len(seeds), seeds, processes=config.processes, **settings)
        env.spec = dataclasses.replace(env.spec, camera=camera)
        return _with_ee(env, task) if config.observation == "ee" else env
    from rpd_jax.envs.functional import FunctionalVectorEnv

    functional = make_functional(config, rgb=rgb, end_on_success=end_on_success)
    assert functional is not None
    return FunctionalVectorEnv(functional, len(seeds), seeds, random_ages=random_ages)


def make_functional(config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv | None:
    """The environment as pure functions, for suites written in JAX; None for the others.

    Raises ConfigError for an unknown environment.
    """
    check_env(config)
    suite, _, task = config.name.partition(":")
    if suite == "tabletop":
        from rpd_jax.envs.tabletop.env import TabletopEnv

        return TabletopEnv(
            task,
            engine=config.physics,
            reward=config.reward,
            rgb=rgb,
            image_size=config.image_size,
            camera=_camera(config, task),
            max_episode_steps=config.max_episode_steps,
            end_on_success=end_on_success,
            horizon_scale=config.horizon_scale,
            instruction=config.instruction,
        )
    if suite == "toy":
        from rpd_jax.envs import toy

        return toy.make(task, config.max_episode_steps, end_on_success)
    return None


def _camera(config: EnvConfig, task: str) -> Camera:
    """The task's camera, which both suites share, with the changes that the config names."""
    from rpd_jax.envs.tabletop import tasks

    given = {"eye": config.camera_eye, "target": config.camera_target, "fov": config.camera_fov}
    own = tasks.load(task).scene.camera
    camera = dataclasses.replace(own, **{name: value for name, value in given.items() if value})
    if not config.camera_shift:
        return camera
    x, y, z = (a + b for a, b in zip(camera.eye, config.camera_shift, strict=True))
    return dataclasses.replace(camera, eye=(x, y, z))


def _with_ee(env: VectorEnv, task: str) -> VectorEnv:
    from rpd_jax.envs.ee_vector import EEVectorEnv
    from rpd_jax.envs.tabletop import tasks

    try:
        facts = tasks.load(task)
        return EEVectorEnv(env, facts.ee_objects, facts.ee_goals)
    except BaseException:
        env.close()
        raise


def env_seeds(seed: int, num_envs: int) -> list[int]:
    """Base seeds of the environments that belong to a seed: the same whatever else is simulated beside them."""
    return [episode_seed(seed, index) for index in range(num_envs)]
