"""PullCube-v1: reach over the cube and pull it along -x onto the target with closed fingers."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.scripted.geometry import Aim, Error, Fields, Task, hover, level, uniform_quantile


def _aim(fields: Fields, error: Error) -> Aim:
    tcp = fields["tcp_pose"]
    believed = fields["obj_pose"][:3] + error.approach
    beyond = believed + jnp.asarray([0.05, 0.0, 0.0])
    gap = beyond - tcp[:3]
    short = jnp.maximum(believed[0] + 0.022 - tcp[0], 0.0)
    off_line = jnp.hypot(gap[1], short)
    ready = jnp.exp(-jnp.square(off_line / 0.02)) * jnp.exp(-jnp.square(jnp.maximum(-gap[2], 0.0) / 0.02))
    up = hover(off_line, radius=0.01, height=0.09, slope=4.0)
    goal = fields["goal_pos"][0] + 0.03 + error.carry[0]
    x = beyond[0] + ready * (goal - beyond[0])
    return Aim(jnp.stack([x, beyond[1], beyond[2] + up]), level(tcp), jnp.asarray(-1.0))


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["goal_pos"][1], -0.1, 0.1)


def _held(fields: Fields) -> Array:
    return jnp.asarray(0.0)


TASK = Task({"tcp_pose": 7, "goal_pos": 3, "obj_pose": 7}, _aim, _place, _held)
