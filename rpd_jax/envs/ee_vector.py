"""The end-effector observation for suites that give a flat "state" only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import ConfigError
from rpd_jax.envs import ee
from rpd_jax.envs.base import (
    ArraySpec,
    EnvSpec,
    StepResult,
    VectorEnv,
    begin_episode,
    slices,
    tell_simulator_state,
)
from rpd_jax.types import Array, Observation

FINGERS = 2  # the last joints of "qpos": metres of each finger from closed


class EEVectorEnv:
    """Adds the entry "ee" to every observation of an environment, made of the named slices of its "state".

    Everything else is the environment's own; see `base.VectorEnv`.

    Args:
      env: its state's layout names "qpos", "tcp_pose" [7], the `objects` [7] and the `goals` [3].
      objects: names of poses, see `ee.observe`.
      goals: names of positions.

    Raises:
      ConfigError: the layout lacks one of them, or it has another length.
    """

    def __init__(self, env: VectorEnv, objects: Sequence[str], goals: Sequence[str]) -> None:
        self._env = env
        self.num_envs = env.num_envs
        self.restores_episodes = bool(getattr(env, "restores_episodes", False))
        layout = env.spec.layout["state"]
        lengths = {"tcp_pose": 7} | dict.fromkeys(objects, 7) | dict.fromkeys(goals, 3)
        _check(env.spec, lengths)
        parts = ee.sizes(objects, goals)
        self.spec = dataclasses.replace(
            env.spec,
            observation={**env.spec.observation, "ee": ArraySpec((sum(parts.values()),), "float32")},
            layout={**env.spec.layout, "ee": slices(parts)},
        )

        def observe(state: Array) -> Array:
            entries = {name: state[:, slice(*layout[name])] for name in lengths}
            width = jnp.sum(state[:, layout["qpos"][1] - FINGERS : layout["qpos"][1]], axis=-1)
            return ee.observe(entries, width, objects, goals)

        self._observe = jax.jit(observe)

    def reset(self) -> Observation:
        return self._with_ee(self._env.reset())

    def begin_episode(self, number: int) -> Observation:
        return self._with_ee(begin_episode(self._env, number))

    def step(self, action: Array) -> StepResult:
        result = self._env.step(action)
        return result._replace(
            observation=self._with_ee(result.observation),
            final_observation=self._with_ee(result.final_observation),
        )

    def frames(self, indices: Sequence[int], camera: str = "rgb") -> Array:
        return self._env.frames(indices) if camera == "rgb" else self._env.frames(indices, camera)

    def tell_simulator_state(self) -> Mapping[str, tuple[int, int]]:
        return tell_simulator_state(self._env)

    @property
    def next_seeds(self) -> list[int]:
        """The environment's own, see `ProcessEnv`; AttributeError where it has none."""
        return self._env.next_seeds  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, np.ndarray]:
        return self._env.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._env.load_state_dict(state)

    def metrics(self) -> dict[str, float]:
        return self._env.metrics()

    def close(self) -> None:
        self._env.close()

    def _with_ee(self, observation: Observation) -> Observation:
        return {**observation, "ee": np.asarray(self._observe(observation["state"]))}


def _check(spec: EnvSpec, lengths: Mapping[str, int]) -> None:
    layout = spec.layout["state"]
    for name in ("qpos", *lengths):
        if name not in layout:
            raise ConfigError(f"env.observation='ee' cannot work: {spec.name} names no {name!r}, only {sorted(layout)}")
        size = layout[name][1] - layout[name][0]
        if size != lengths.get(name, size):
            raise ConfigError(
                f"env.observation='ee' cannot work: {name!r} of {spec.name} has {size} numbers, not {lengths[name]}"
            )


def with_ee(env: VectorEnv, objects: Sequence[str], goals: Sequence[str]) -> VectorEnv:
    """`EEVectorEnv`; closes the environment where it cannot be one."""
    try:
        return EEVectorEnv(env, objects, goals)
    except BaseException:
        env.close()
        raise
