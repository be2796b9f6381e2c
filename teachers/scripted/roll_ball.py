"""RollBall-v1: get behind the ball and drive it towards the goal with closed fingers."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.types import Array
from teachers.conventions import BASE_YAW
from teachers.scripted.geometry import Aim, Error, Fields, Task, hover, level, uniform_quantile

HEIGHT = 0.03  # of the tool while it pushes, metres
LATERAL = 2.0  # how much more an error across the way counts than the way itself


def _aim(fields: Fields, error: Error) -> Aim:
    tcp = fields["tcp_pose"]
    ball = fields["ball_pose"][:3] + error.approach
    way = (fields["goal_pos"] + error.carry - ball)[:2]
    way = way / jnp.maximum(jnp.linalg.norm(way), 1e-3)
    side = jnp.stack([-way[1], way[0]])
    gap = ball[:2] - tcp[:2]
    ahead, aside = gap @ way, gap @ side  # how far the ball is along the way, and off it

    behind = ball[:2] - 0.07 * way
    # off the line through ball and goal, or not behind the ball: up and round; on it: through the ball
    off = jnp.hypot(aside, jnp.maximum(0.04 - ahead, 0.0))
    ready = jnp.exp(-jnp.square(off / 0.015)) * jnp.exp(-jnp.square(jnp.maximum(tcp[2] - HEIGHT, 0.0) / 0.03))
    xy = behind + ready * (0.2 * way + LATERAL * aside * side)
    z = HEIGHT + hover(off, radius=0.01, height=0.08, slope=4.0)
    # the fingers' line square to the way
    finger = rotations.quaternion_apply(tcp[3:7], jnp.asarray([0.0, 1.0, 0.0]))[:2]
    yaw = jnp.sin(2.0 * (jnp.arctan2(side[1], side[0]) - jnp.arctan2(finger[1], finger[0]))) / 2.0
    turn = level(tcp) + jnp.stack([0.0, 0.0, 1.0]) * yaw
    return Aim(jnp.concatenate([xy, z[None]]), turn, jnp.asarray(-1.0))


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["goal_pos"][0], -0.4, 0.2)


def _held(fields: Fields) -> Array:
    return jnp.asarray(0.0)


TASK = Task({"tcp_pose": 7, "goal_pos": 3, "ball_pose": 7}, _aim, _place, _held, BASE_YAW["RollBall-v1"])
