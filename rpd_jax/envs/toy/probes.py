"""Probes: tiny tasks that isolate one learning ability each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.types import Array, Observation


class Probe:
    """A one-dimensional environment whose optimal value is known; see `PROBES`."""

    def __init__(
        self,
        name: str,
        steps: int,
        observe: Callable[[Array, Array], Array],
        reward: Callable[[Array, Array, Array], Array],
    ) -> None:
        self._observe, self._reward = observe, reward
        self.spec = EnvSpec(
            name=f"toy:{name}",
            instruction="",
            max_episode_steps=steps,
            action_dim=1,
            action_low=(-1.0,),
            action_high=(1.0,),
            observation={"state": ArraySpec((1,), "float32")},
            layout={"state": {"x": (0, 1)}},
        )

    def reset(self, key: Array) -> tuple[Any, Observation]:
        sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        time = jnp.zeros((), jnp.int32)
        return (sign, time), {"state": self._observe(sign, time)[None]}

    def step(self, state: Any, action: Array) -> tuple[Any, Observation, Array, Array, Array, Array]:
        sign, time = state
        reward = self._reward(sign, time, action[0])
        time = time + 1
        terminated = time >= self.spec.max_episode_steps
        observation = {"state": self._observe(sign, time)[None]}
        return (sign, time), observation, reward, terminated, jnp.zeros((), bool), reward > 0


def constant_reward() -> Probe:
    """Reward 1 for one step: the value must become 1."""
    return Probe("ConstantReward-v0", 1, lambda sign, time: 0.0 * sign, lambda sign, time, a: jnp.ones(()))


def observed_reward() -> Probe:
    """The reward is the observation, +1 or -1: the value must read it."""
    return Probe("ObservedReward-v0", 1, lambda sign, time: sign, lambda sign, time, a: sign)


def two_step_credit() -> Probe:
    """Reward 1 after the second of two steps, the observation is the time: the first value must be gamma."""
    return Probe(
        "TwoStepCredit-v0",
        2,
        lambda sign, time: time.astype(jnp.float32),
        lambda sign, time, a: jnp.where(time == 1, 1.0, 0.0),
    )


def action_matters() -> Probe:
    """Reward 1 - (a - 0.5 x)^2 for the observation x = +-1: the mean action must become 0.5 x."""
    return Probe("ActionMatters-v0", 1, lambda sign, time: sign, lambda sign, time, a: 1.0 - (a - 0.5 * sign) ** 2)


PROBES: dict[str, Callable[[], Probe]] = {
    probe().spec.task: probe for probe in (constant_reward, observed_reward, two_step_credit, action_matters)
}
