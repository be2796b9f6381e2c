"""A reaching task for tests and tiny runs, and for trying things out without a simulator."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp

from rpd_jax.envs.base import ArraySpec, EnvSpec
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
