"""PegInsertionSide-v1: grasp the peg near its tail, line it up with the hole and push it in."""

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
    turn_to,
    uniform_quantile,
    unit_interval,
)

GRIP = -0.05  # where the peg is held, from its middle towards its head, metres: the hand must not meet the box
OUTSIDE = -0.04  # where the head waits before the hole, metres
TURN = 3.0  # how much faster than its error the peg is turned: it keeps on sagging between the fingers
STEP = 0.04  # the longest step aimed for with the peg, metres
SAG = 0.0008  # metres by which the peg's 3.3 N pull the hand down on a servo of 4000 N/m


def _grip(fields: Fields) -> Array:
    peg = fields["peg_pose"]
    return peg[:3] + rotations.quaternion_apply(peg[3:], jnp.asarray([GRIP, 0.0, 0.0]))


def _grasped(fields: Fields) -> Array:
    return between_fingers(fields, _grip(fields), 2.0 * fields["peg_half_size"][1] - 0.003, near=0.015, far=0.03)


def _aim(fields: Fields, error: Error) -> Aim:
    tcp, peg, hole = fields["tcp_pose"], fields["peg_pose"], fields["box_hole_pose"]
    upwards, forwards = jnp.asarray([0.0, 0.0, 1.0]), jnp.asarray([1.0, 0.0, 0.0])
    length = fields["peg_half_size"][0]
    believed = _grip(fields) + error.approach
    gap = believed - tcp[:3]
    held = _grasped(fields)
    approach = believed + upwards * hover(jnp.linalg.norm(gap[:2]), radius=0.01, height=0.08, slope=3.0)

    def in_hole(along: Array) -> Array:
        """A point on the peg's axis in the hole's frame; its entrance is at x = -length."""
        point = peg[:3] + along * rotations.quaternion_apply(peg[3:], forwards) - hole[:3] - error.carry
        return rotations.quaternion_apply(rotations.quaternion_inverse(hole[3:]), point)

    head, middle = in_hole(length), in_hole(jnp.zeros(()))
    off = jnp.maximum(jnp.linalg.norm(head[1:]), jnp.linalg.norm(middle[1:]))
    # on the hole's axis the head may go in; inside, the walls lead it
    inside = unit_interval((head[0] + length) / 0.02)
    in_line = unit_interval((0.005 + 0.01 * inside - off) / 0.003)
    x = OUTSIDE + in_line * (0.05 - OUTSIDE) - (1.0 - in_line) * length
    wanted = hole[:3] + error.carry + rotations.quaternion_apply(hole[3:], forwards * (x - length))
    error_turn = turn_to(peg[3:], hole[3:])
    # the hand turns about itself, the peg about the hand
    arm = rotations.quaternion_apply(rotations.quaternion_from_rotvec(error_turn), tcp[:3] - peg[:3])
    step = wanted + arm - tcp[:3]
    carry = tcp[:3] + step * STEP / jnp.maximum(jnp.linalg.norm(step), STEP) + SAG * upwards

    finger = rotations.quaternion_apply(tcp[3:], jnp.asarray([0.0, 1.0, 0.0]))
    across = rotations.yaw_from_quaternion(peg[3:]) + jnp.pi / 2
    yaw = jnp.sin(2.0 * (across - jnp.arctan2(finger[1], finger[0]))) / 2.0
    turn = level(tcp) + upwards * yaw
    near = jnp.linalg.norm(gap) - (0.008 - error.grip)
    opening = (1.0 - held) * jnp.tanh(near / 0.004) - held
    return Aim(approach + held * (carry - approach), turn + held * (TURN * error_turn - turn), opening)


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["peg_pose"][0], -0.1, 0.1)


TASK = Task(
    {"qpos": None, "tcp_pose": 7, "peg_pose": 7, "peg_half_size": 3, "box_hole_pose": 7}, _aim, _place, _grasped
)
