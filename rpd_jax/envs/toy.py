"""Toy tasks written in JAX: a reaching task for tests and tiny runs, and probes that isolate one learning ability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from rpd_jax.envs.base import ArraySpec, EnvSpec, FunctionalEnv
from rpd_jax.types import ActionContract, Array, Observation

TOY_CONTRACT = ActionContract(
    translation_scale=0.05,
    rotation_scale=0.1,
    rotation_form="euler_xyz",
    rotation_sign=1,
    frame="base",
    gripper_closed=-1.0,
    gripper_open=1.0,
)


class Reach:
    """A point moves by 0.05 m per unit of action towards a goal in a 0.4 m cube; success within 0.02 m.

    State observation [6]: position, goal (metres). The rotation and gripper parts of the action do nothing.
    """

    def __init__(self, max_episode_steps: int = 20, end_on_success: bool = True) -> None:
        self._end_on_success = end_on_success
        self.spec = EnvSpec(
            name="toy:Reach-v0",
            instruction="move to the goal",
            max_episode_steps=max_episode_steps,
            action_dim=7,
            action_low=(-1.0,) * 7,
            action_high=(1.0,) * 7,
            observation={"state": ArraySpec((6,), "float32")},
            layout={"state": {"tcp_pos": (0, 3), "goal_pos": (3, 6)}},
            contract=TOY_CONTRACT,
        )

    def reset(self, key: Array) -> tuple[Any, Observation]:
        points = jax.random.uniform(key, (6,), minval=-0.2, maxval=0.2)
        return (points, jnp.zeros((), jnp.int32)), {"state": points}

    def step(self, state: Any, action: Array) -> tuple[Any, Observation, Array, Array, Array, Array]:
        points, steps = state
        chex.assert_shape(action, (7,))
        position = points[:3] + TOY_CONTRACT.translation_scale * action[:3]
        points = jnp.concatenate([position, points[3:]])
        distance = jnp.linalg.norm(position - points[3:])
        success = distance < 0.02
        truncated = steps + 1 >= self.spec.max_episode_steps
        terminated = jnp.logical_and(success, self._end_on_success)
        reward = 1.0 - jnp.tanh(5.0 * distance)
        return (points, steps + 1), {"state": points}, reward, terminated, truncated & ~terminated, success


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

TASKS = ("Reach-v0", *PROBES)


def make(task: str, max_episode_steps: int | None, end_on_success: bool) -> FunctionalEnv:
    """Builds the toy task of that name; probes have their own length and end."""
    if task in PROBES:
        return PROBES[task]()
    return Reach(max_episode_steps or 20, end_on_success)
