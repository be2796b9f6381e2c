"""PokeCube-v1: grasp the peg, bring it in line with the cube and push the cube with the peg's head."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.types import Array
from teachers.scripted.geometry import (
    Aim,
    Error,
    Fields,
    Task,
    between_fingers,
    hover,
    level,
    uniform_quantile,
    unit_interval,
)

HALF_LENGTH, HALF_WIDTH = 0.12, 0.025  # of the peg, metres
CUBE = 0.02  # half an edge of the cube, metres
GRIP = -0.07  # where the peg is held, from its middle towards its head, metres: the arm is short
LIFT = 0.012  # off the table, whose friction would hold the peg, metres
SLOW = 0.045  # the largest step aimed for while pushing, metres


def _axis(fields: Fields) -> Array:
    return rotations.quaternion_apply(fields["peg_pose"][3:], jnp.asarray([1.0, 0.0, 0.0]))


def _grasped(fields: Fields) -> Array:
    return between_fingers(fields, fields["peg_pose"][:3] + GRIP * _axis(fields), 2 * HALF_WIDTH)


def _aim(fields: Fields, error: Error) -> Aim:
    tcp, peg, cube = fields["tcp_pose"], fields["peg_pose"], fields["cube_pose"][:3]
    upwards = jnp.asarray([0.0, 0.0, 1.0])
    believed = peg[:3] + GRIP * _axis(fields) + error.approach
    gap = believed - tcp[:3]
    held = _grasped(fields)
    approach = believed + upwards * hover(jnp.linalg.norm(gap[:2]), radius=0.015, height=0.08, slope=3.0)

    # in line first, a little short of the cube; then on until the cube is where it should be
    head = peg[:3] + HALF_LENGTH * _axis(fields)
    aside = cube[1] - head[1]
    in_line = unit_interval((0.02 - jnp.abs(aside)) / 0.012)
    short = cube[0] - CUBE - 0.03 - head[0]
    push = fields["cube_to_goal_pos"][0] - 0.02 + jnp.maximum(cube[0] - CUBE - head[0], 0.0)
    push = SLOW * jnp.tanh(push / SLOW)  # or the cube slides on, beyond the goal
    step = jnp.stack([short + in_line * (push - short), aside, HALF_WIDTH + LIFT - peg[2]])
    carry = tcp[:3] + step + error.carry

    near = jnp.linalg.norm(gap) - (0.025 - error.grip)
    opening = (1.0 - held) * jnp.tanh(near / 0.01) - held
    turn = level(tcp) - upwards * rotations.yaw_from_quaternion(peg[3:])
    return Aim(approach + held * (carry - approach), turn, opening)


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["peg_pose"][1], -0.1, 0.1)


TASK = Task({"qpos": None, "tcp_pose": 7, "cube_pose": 7, "peg_pose": 7, "cube_to_goal_pos": 3}, _aim, _place, _grasped)
