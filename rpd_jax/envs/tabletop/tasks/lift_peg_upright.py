"""LiftPegUpright-v1: raise the lying peg until it stands on the table."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.envs.tabletop.scene import Scene, peg
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, euler_z
from rpd_jax.types import Array

HALF_LENGTH, HALF_WIDTH = 0.12, 0.025  # of the peg, metres
_LYING = (0.5**0.5, 0.5**0.5, 0.0, 0.0)  # a quarter turn about the peg's own axis: its y axis points up


def _place(key: Array) -> Placement:
    xy = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)
    return Placement(pose={"peg": jnp.concatenate([xy, jnp.array([HALF_WIDTH, *_LYING])])}, goal={})


def _observe(view: View) -> Mapping[str, Array]:
    return {"tcp_pose": view.tcp, "obj_pose": view.pose["peg"]}


def _success(view: View) -> Array:
    """Upright by its last Euler angle, as in ManiSkill: only about the axis about which one lifts it as it lies."""
    pose = view.pose["peg"]
    lean = jnp.abs(jnp.abs(euler_z(pose[3:])) - jnp.pi / 2)
    return (lean < 0.08) & (jnp.abs(pose[2] - HALF_LENGTH) < 0.005)


def _dense(view: View, success: Array) -> Array:
    """Turn it up, bring its middle to the height of a standing peg; a little for reaching and grasping it."""
    pose = view.pose["peg"]
    axis = rotations.quaternion_apply(pose[3:], jnp.array([1.0, 0.0, 0.0]))
    reach = jnp.where(view.grasped["peg"], 1.0, closeness(distance(pose[:3], view.tcp[:3])))
    reward = jnp.abs(axis[2]) + closeness(jnp.abs(pose[2] - HALF_LENGTH)) + reach / 5.0
    return jnp.where(success, 3.0, reward)


TASK = Task(
    scene=Scene(
        bodies=(peg("peg", HALF_LENGTH, HALF_WIDTH, (0.69, 0.05, 0.05), (0.05, 0.16, 0.63)),),
        grip_force=10.0,
    ),
    instruction="lift the peg upright",
    max_episode_steps=50,
    reward_scale=3.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("obj_pose",),
)
