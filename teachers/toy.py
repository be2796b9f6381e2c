"""The toy teacher of the toy reaching task: walks to the goal, with noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Array, Observation, TeacherLabels, TeacherSpec


@dataclasses.dataclass(frozen=True)
class ToyTeacher:
    """Moves along the straight line to the goal, off by a constant `bias` (metres) and `noise` (std, action units)."""

    env_spec: EnvSpec
    noise: float = 0.0
    bias: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.env_spec.name != "toy:Reach-v0":
            raise ValueError(f"env.name={self.env_spec.name!r} has no toy teacher: only toy:Reach-v0 has")

    @property
    def spec(self) -> TeacherSpec:
        return TeacherSpec(
            name="toy:Reach-v0",
            observation_keys=("state",),
            contract=None,
            samples_actions=self.noise > 0,
            in_graph=True,
            is_scripted=True,
        )

    def label(self, observation: Observation, instruction: str, key: Array) -> TeacherLabels:
        """Labels states [B, 6]."""
        del instruction  # it knows its task
        state = jnp.asarray(observation["state"])
        assert self.env_spec.contract is not None
        aim = state[:, 3:] - state[:, :3] + jnp.asarray(self.bias)[None]
        step = aim / self.env_spec.contract.translation_scale
        action = jnp.concatenate([step, jnp.zeros((len(state), 4))], axis=-1)
        action = action + self.noise * jax.random.normal(key, action.shape)
        std = jnp.full(action.shape, max(self.noise, 0.05))
        return TeacherLabels(jnp.clip(action, -1.0, 1.0), jnp.ones(len(state), bool), std)


def make(env_spec: EnvSpec, settings: Mapping[str, Any]) -> ToyTeacher:
    """The factory that `teachers.base` knows; settings are the class's arguments."""
    return ToyTeacher(env_spec, **settings)
