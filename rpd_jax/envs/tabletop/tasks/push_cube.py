"""PushCube-v1: push the blue cube away from the robot onto the target."""

from __future__ import annotations

import functools

import jax.numpy as jnp

from rpd_jax.envs.tabletop.task import Task, View, closeness, distance
from rpd_jax.envs.tabletop.tasks import _slide
from rpd_jax.envs.tabletop.tasks._slide import HALF, RADIUS, aside
from rpd_jax.types import Array


def _success(view: View) -> Array:
    return (aside(view) < RADIUS) & (view.pose["cube"][2] < HALF + 0.005)


def _dense(view: View, success: Array) -> Array:
    """Get behind the cube; once there, nearer to the target's centre, on the table."""
    cube = view.pose["cube"][:3]
    gap = distance(cube - jnp.array([HALF + 0.005, 0.0, 0.0]), view.tcp[:3])
    place = closeness(aside(view)) * (gap < 0.01)
    reward = closeness(gap) + place * (1.0 + closeness(jnp.abs(cube[2] - HALF)))
    return jnp.where(success, 4.0, reward)


TASK = Task(
    scene=_slide.SCENE,
    instruction="push the cube away from the robot base",
    max_episode_steps=50,
    reward_scale=4.0,
    place=functools.partial(_slide.place, direction=1.0),
    observe=_slide.observe,
    success=_success,
    dense=_dense,
    ee_objects=("obj_pose",),
    ee_goals=("goal_pos",),
)
