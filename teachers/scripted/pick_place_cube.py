"""PickPlaceCube-v1: grasp the cube, carry it over the pedestal, set it down, let go and rise."""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.scripted import stack_cube
from teachers.scripted.geometry import Aim, Error, Fields, Task, uniform_quantile


def _stack(fields: Fields) -> Fields:
    """The same as a stack's state: the pedestal is the upper half of a cube that is sunk into the table."""
    under = jnp.concatenate([fields["goal_pos"] - jnp.asarray([0.0, 0.0, 0.02]), jnp.asarray([1.0, 0.0, 0.0, 0.0])])
    return {
        "qpos": fields["qpos"],
        "tcp_pose": fields["tcp_pose"],
        "cubeA_pose": fields["obj_pose"],
        "cubeB_pose": under,
    }


def _aim(fields: Fields, error: Error) -> Aim:
    return stack_cube.TASK.aim(_stack(fields), error)


def _place(fields: Fields) -> Array:
    return uniform_quantile(fields["obj_pose"][1], -0.1, 0.1)


def _held(fields: Fields) -> Array:
    return stack_cube.TASK.held(_stack(fields))


TASK = Task({"qpos": None, "tcp_pose": 7, "goal_pos": 3, "obj_pose": 7}, _aim, _place, _held)
