"""StackCube-v1: grasp cube A from above, carry it over cube B, set it down, let go and rise."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.scripted.geometry import (
    Aim,
    Error,
    Fields,
    Task,
    align_yaw,
    between_fingers,
    hover,
    level,
    sum_of_uniforms_quantile,
    unit_interval,
    width,
)

CUBE = 0.04  # edge of both cubes, metres


def _stacked(fields: Fields) -> Array:
    """1 where cube A rests on cube B, falling to 0 within a centimetre aside or five millimetres up."""
    offset = fields["cubeA_pose"][:3] - fields["cubeB_pose"][:3]
    aside = jnp.linalg.norm(offset[:2])
    high = unit_interval((offset[2] - CUBE + 0.012) / 0.006)
    return unit_interval((0.02 - aside) / 0.008) * unit_interval((CUBE + 0.008 - offset[2]) / 0.005) * high


def _grasped(fields: Fields) -> Array:
    return between_fingers(fields, fields["cubeA_pose"][:3], CUBE, near=0.025, far=0.035)


def _aim(fields: Fields, error: Error) -> Aim:
    tcp, cube, base = fields["tcp_pose"], fields["cubeA_pose"][:3], fields["cubeB_pose"][:3]
    upwards = jnp.asarray([0.0, 0.0, 1.0])
    believed = cube + error.approach
    gap = believed - tcp[:3]
    aside = jnp.linalg.norm(gap[:2])
    held, stacked = _grasped(fields), _stacked(fields)

    approach = believed + upwards * hover(aside, radius=0.012, height=0.08, slope=3.0)
    # over cube B: high while aside of it, down when above it; close to B and low, first up and then across
    slot = base + CUBE * upwards + error.carry - cube
    across = jnp.linalg.norm(slot[:2])
    rise = hover(across, radius=0.006, height=0.05, slope=6.0)
    clear = jnp.maximum(unit_interval((0.02 - slot[2]) / 0.02), unit_interval((across - 0.07) / 0.04))
    carry = tcp[:3] + slot * jnp.stack([clear, clear, jnp.ones(())]) + upwards * rise
    # up only as the fingers open, or they take the cube along; stop well above
    freed = unit_interval((width(fields) - CUBE - 0.01) / 0.02)
    leave = tcp[:3] + upwards * jnp.clip(cube[2] + 0.12 - tcp[2], -0.1, 0.1) * freed

    near = jnp.linalg.norm(gap) - (0.025 - error.grip)
    opening = (1.0 - held) * jnp.tanh(near / 0.008) - held
    position = approach + held * (carry - approach)
    position = position + stacked * (leave - position)
    opening = opening + stacked * (1.0 - opening)
    turn = level(tcp) + upwards * align_yaw(tcp, fields["cubeA_pose"][3:]) * (1.0 - held) * (1.0 - stacked)
    return Aim(position, turn, opening)


def _place(fields: Fields) -> Array:
    return sum_of_uniforms_quantile(fields["cubeA_pose"][0], 0.1, 0.07)


def _held(fields: Fields) -> Array:
    return jnp.maximum(_grasped(fields), _stacked(fields))


TASK = Task({"qpos": None, "tcp_pose": 7, "cubeA_pose": 7, "cubeB_pose": 7}, _aim, _place, _held)
