"""PullCubeTool-v1: grasp the tool, slide it past the cube, put its hook behind the cube and pull."""

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

HALF_WIDTH = 0.025  # of the tool's handle, metres
GRIP = 0.02  # where the handle is held, from its end, metres
# where the cube is, seen from the handle's end (x along the handle, y to the hook's side), metres:
BEFORE = 0.26  # x: not yet beside the hook, which reaches from 0.15 to 0.2
BEHIND = 0.1  # x: well past the hook; touching it, the cube is at 0.13; not farther than needed, an arm is short
LANE = 0.145  # y: clear of the hook's tip, which reaches to 0.1; the cube's corner is 0.027 from its middle
CAUGHT = 0.055  # y: in the corner of handle and hook
PULL = 0.06  # the step aimed for while pulling, metres


def _grip(fields: Fields) -> Array:
    return fields["tool_pose"][:3] + jnp.asarray([GRIP, 0.0, 0.0])


def _grasped(fields: Fields) -> Array:
    return between_fingers(fields, _grip(fields), 2 * HALF_WIDTH)


def _aim(fields: Fields, error: Error) -> Aim:
    tcp, tool = fields["tcp_pose"], fields["tool_pose"]
    upwards = jnp.asarray([0.0, 0.0, 1.0])
    believed = _grip(fields) + error.approach
    gap = believed - tcp[:3]
    held = _grasped(fields)
    approach = believed + upwards * hover(jnp.linalg.norm(gap[:2]), radius=0.015, height=0.08, slope=3.0)

    cube = fields["cube_pose"][:3] + error.carry - tool[:3]
    clear = unit_interval((cube[1] - 0.128) / 0.01)  # the hook may pass beside the cube
    past = unit_interval((0.125 - cube[0]) / 0.02)  # and has done so
    hooked = unit_interval((0.155 - cube[0]) / 0.015) * unit_interval((0.11 - cube[1]) / 0.02)
    x = BEFORE + jnp.maximum(clear, past) * (BEHIND - BEFORE)
    y = LANE + jnp.maximum(past, hooked) * (CAUGHT - LANE)
    step = jnp.stack([cube[0] - x, cube[1] - y])
    step = step + hooked * (jnp.stack([-PULL, 0.3 * step[1]]) - step)
    carry = tcp[:3] + jnp.append(step, HALF_WIDTH - tool[2])

    near = jnp.linalg.norm(gap) - (0.025 - error.grip)
    opening = (1.0 - held) * jnp.tanh(near / 0.01) - held
    turn = level(tcp) - upwards * rotations.yaw_from_quaternion(tool[3:])
    return Aim(approach + held * (carry - approach), turn, opening)


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["tool_pose"][1], -0.3, -0.1)


TASK = Task({"qpos": None, "tcp_pose": 7, "cube_pose": 7, "tool_pose": 7}, _aim, _place, _grasped)
