"""The toy teacher of the toy reaching task: walks to the goal, with noise."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rpd_jax.config.env import EnvConfig
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import setting
from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Array, Instructions, Observation, TeacherLabels, TeacherSpec


@dataclasses.dataclass
class ToySettings(TeacherConfig):
    """How far the toy teacher is off."""

    factory: ClassVar[str] = "teachers.toy:ToyTeacher"

    name: str = setting("toy", required=True)
    noise: float = setting(0.0, low=0)  # standard deviation, in action units
    bias: tuple[float, ...] = setting((0.0, 0.0, 0.0), lengths=(3,))  # metres, on the goal

    def look(self, env: EnvConfig) -> None:
        """See `TeacherConfig.look`."""
        check_task(env.name)


def check_task(name: str) -> None:
    """Raises ValueError for any environment but the toy reaching task."""
    if name != "toy:Reach-v0":
        raise ValueError(f"env.name={name!r} has no toy teacher: only toy:Reach-v0 has")


class ToyTeacher:
    """Moves along the straight line to the goal. Raises ValueError for another task's environment."""

    def __init__(self, env_spec: EnvSpec, settings: ToySettings) -> None:
        check_task(env_spec.name)
        assert env_spec.contract is not None
        self._scale, self._settings = env_spec.contract.translation_scale, settings
        self.spec = TeacherSpec(
            name="toy:Reach-v0",
            observation_keys=("state",),
            contract=None,
            samples_actions=settings.noise > 0,
            in_graph=True,
            is_scripted=True,
        )

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels states [B, 6]."""
        import jax  # here: settings need no jax
        import jax.numpy as jnp

        del instructions  # it knows its task
        state, noise = jnp.asarray(observation["state"]), self._settings.noise
        aim = state[:, 3:] - state[:, :3] + jnp.asarray(self._settings.bias)[None]
        action = jnp.concatenate([aim / self._scale, jnp.zeros((len(state), 4))], axis=-1)
        action = action + noise * jax.random.normal(key, action.shape)
        std = jnp.full(action.shape, max(noise, 0.05))
        return TeacherLabels(jnp.clip(action, -1.0, 1.0), jnp.ones(len(state), bool), std)
