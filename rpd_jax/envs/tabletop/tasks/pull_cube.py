"""PullCube-v1: pull the blue cube towards the robot onto the target."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Scene, cube, target_disc
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cube's edge, metres
RADIUS = 0.1  # of the target


def _place(key: Array) -> Placement:
    xy = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)
    goal = jnp.stack([xy[0] - 0.1 - RADIUS, xy[1], jnp.asarray(1e-3)])
    return Placement(pose={"cube": pose_at(jnp.append(xy, HALF))}, goal={"goal_pos": goal})


def _observe(view: View) -> Mapping[str, Array]:
    return {"tcp_pose": view.tcp, "goal_pos": view.goal["goal_pos"], "obj_pose": view.pose["cube"]}


def _aside(view: View) -> Array:
    return distance(view.pose["cube"][:2], view.goal["goal_pos"][:2])


def _success(view: View) -> Array:
    return _aside(view) < RADIUS


def _dense(view: View, success: Array) -> Array:
    """Get to the cube's far side; once there, nearer to the target's centre."""
    gap = distance(view.pose["cube"][:3] + jnp.array([HALF + 0.01, 0.0, 0.0]), view.tcp[:3])
    reward = closeness(gap) + closeness(_aside(view)) * (gap < 0.01)
    return jnp.where(success, 3.0, reward)


TASK = Task(
    scene=Scene(bodies=(cube("cube", (0.05, 0.16, 0.63), HALF),), markers=(target_disc("goal_pos", RADIUS),)),
    instruction="pull the cube towards the robot base",
    max_episode_steps=50,
    reward_scale=3.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("obj_pose",),
    ee_goals=("goal_pos",),
)
