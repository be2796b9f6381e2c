"""PushCube-v1: push the cube along +x onto the target, fingers closed, from behind it."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.scripted.geometry import Aim, Error, Fields, Task, hover, level, uniform_quantile

FAST = 0.06  # the largest step aimed for while pushing, metres


def _aim(fields: Fields, error: Error) -> Aim:
    tcp = fields["tcp_pose"]
    believed = fields["obj_pose"][:3] + error.approach
    behind = believed + jnp.asarray([-0.055, 0.0, 0.0])
    gap = behind - tcp[:3]
    # how far the fingers are from the line behind the cube, on which they may be low and go forward
    ahead = jnp.maximum(tcp[0] - (believed[0] - 0.022), 0.0)
    off_line = jnp.hypot(gap[1], ahead)
    ready = jnp.exp(-jnp.square(off_line / 0.02)) * jnp.exp(-jnp.square(jnp.maximum(-gap[2], 0.0) / 0.03))
    up = hover(off_line, radius=0.01, height=0.06, slope=3.0)
    goal = fields["goal_pos"][0] - 0.08 + error.carry[0]
    # not too fast, or the cube slides on and leaves the target at its far side
    x = behind[0] + ready * FAST * jnp.tanh((goal - behind[0]) / FAST)
    return Aim(jnp.stack([x, behind[1], behind[2] + up]), level(tcp), jnp.asarray(-1.0))


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["goal_pos"][1], -0.1, 0.1)


def _held(fields: Fields) -> Array:
    return jnp.asarray(0.0)


TASK = Task({"tcp_pose": 7, "goal_pos": 3, "obj_pose": 7}, _aim, _place, _held)
