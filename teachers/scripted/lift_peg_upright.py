"""LiftPegUpright-v1: grasp the lying peg near one end and lift that end, round the other, until it stands."""

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
GRIP = 0.09  # where it is held, from its middle towards the end that goes up, metres
LOOSE = 0.1  # opening that holds the peg with a few newtons, so that it can turn between the fingers


def _axis(fields: Fields) -> Array:
    return rotations.quaternion_apply(fields["obj_pose"][3:], jnp.asarray([1.0, 0.0, 0.0]))


def _grasped(fields: Fields) -> Array:
    return between_fingers(fields, fields["obj_pose"][:3] + GRIP * _axis(fields), 2 * HALF_WIDTH)


def _aim(fields: Fields, error: Error) -> Aim:
    tcp, centre, axis = fields["tcp_pose"], fields["obj_pose"][:3], _axis(fields)
    upwards = jnp.asarray([0.0, 0.0, 1.0])
    believed = centre + GRIP * axis + error.approach
    gap = believed - tcp[:3]
    held = _grasped(fields)
    approach = believed + upwards * hover(jnp.linalg.norm(gap[:2]), radius=0.015, height=0.08, slope=3.0)

    # the peg turns in the fingers: lead the grip along an arc about the end that stays on the table, whose
    # lower edge is `resting` below the middle
    sine = jnp.clip(axis[2], 0.0, 1.0)
    lean = jnp.sqrt(1.0 - sine * sine)
    resting = HALF_LENGTH * sine + HALF_WIDTH * lean
    tangent = upwards - sine * axis  # of length `lean`
    angle = jnp.arctan2(lean, sine)
    arc = tangent * (HALF_LENGTH + GRIP) * angle / jnp.maximum(lean, 1e-3)
    carry = tcp[:3] + arc + upwards * (resting - centre[2]) + error.carry

    # what friction leaves of the lean, the hand takes out by turning along
    turn = level(tcp) + held * unit_interval((0.8 - lean) / 0.4) * (jnp.cross(axis, upwards) - level(tcp))

    near = jnp.linalg.norm(gap) - (0.025 - error.grip)
    opening = (1.0 - held) * jnp.tanh(near / 0.01) + held * LOOSE
    return Aim(approach + held * (carry - approach), turn, opening)


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["obj_pose"][1], -0.1, 0.1)


def _held(fields: Fields) -> Array:
    return _grasped(fields)


TASK = Task({"qpos": None, "tcp_pose": 7, "obj_pose": 7}, _aim, _place, _held)
