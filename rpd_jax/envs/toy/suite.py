"""The suite "toy"."""

from __future__ import annotations

import dataclasses

from rpd_jax.config import ConfigError, EnvConfig, choice
from rpd_jax.envs import rewards
from rpd_jax.envs.base import FunctionalEnv
from rpd_jax.envs.suite import FunctionalSuite, TaskInfo, info_of, task_of
from rpd_jax.envs.toy.probes import PROBES
from rpd_jax.envs.toy.reach import Reach


class ToySuite(FunctionalSuite):
    """See `suite.Suite`. Probes have lengths and ends of their own; nothing can be drawn."""

    def tasks(self) -> tuple[str, ...]:
        return ("Reach-v0", *PROBES)

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        info = info_of(self._make(task, config, True).spec)
        return dataclasses.replace(info, control_mode="pd_ee_delta_pose" if info.contract else "")

    def check(self, config: EnvConfig) -> None:
        choice("env.name: task", task_of(config), self.tasks())
        if config.observation != "state":
            raise ConfigError(f"env.observation={config.observation!r} cannot work: toy tasks have state only")
        rewards.check(task_of(config), config.reward)

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv:
        return self._make(task_of(config), config, end_on_success)

    def _make(self, task: str, config: EnvConfig, end_on_success: bool) -> FunctionalEnv:
        choice("env.name: task", task, self.tasks())
        env = PROBES[task]() if task in PROBES else Reach(config.max_episode_steps or 20, end_on_success)
        env.spec = dataclasses.replace(env.spec, instruction=config.instruction or env.spec.instruction)
        return env


SUITE = ToySuite()
