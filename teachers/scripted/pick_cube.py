"""PickCube-v1: grasp the cube from above, carry it to the goal and hold still."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.scripted.geometry import Aim, Error, Fields, Task, hover, level, uniform_quantile


def _aim(fields: Fields, error: Error) -> Aim:
    tcp, held = fields["tcp_pose"], fields["is_grasped"][0]
    believed = fields["obj_pose"][:3] + error.approach
    gap = believed - tcp[:3]
    aside = jnp.linalg.norm(gap[:2])
    approach = believed + jnp.asarray([0.0, 0.0, 1.0]) * hover(aside, radius=0.015, height=0.08, slope=2.0)
    carry = tcp[:3] + fields["goal_pos"] - fields["obj_pose"][:3] + error.carry
    near = jnp.linalg.norm(gap) - (0.03 - error.grip)
    opening = jnp.where(held > 0.5, -1.0, jnp.tanh(near / 0.01))
    # the fingers turn the cube as they close: no need to turn to its faces
    return Aim(jnp.where(held > 0.5, carry, approach), level(tcp), opening)


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["obj_pose"][1], -0.1, 0.1)


def _held(fields: Fields) -> Array:
    return fields["is_grasped"][0]


TASK = Task({"tcp_pose": 7, "is_grasped": 1, "goal_pos": 3, "obj_pose": 7}, _aim, _place, _held)
