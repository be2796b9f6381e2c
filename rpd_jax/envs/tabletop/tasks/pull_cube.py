"""PullCube-v1: pull the blue cube towards the robot onto the target."""

from __future__ import annotations

import functools

import jax.numpy as jnp

from rpd_jax.envs.tabletop.task import Task, View, closeness, distance
from rpd_jax.envs.tabletop.tasks import _slide
from rpd_jax.envs.tabletop.tasks._slide import HALF, RADIUS, aside
from rpd_jax.types import Array


def _success(view: View) -> Array:
    return aside(view) < RADIUS


def _dense(view: View, success: Array) -> Array:
    """Get to the cube's far side; once there, nearer to the target's centre."""
    gap = distance(view.pose["cube"][:3] + jnp.array([HALF + 0.01, 0.0, 0.0]), view.tcp[:3])
    reward = closeness(gap) + closeness(aside(view)) * (gap < 0.01)
    return jnp.where(success, 3.0, reward)


TASK = Task(
    scene=_slide.SCENE,
    instruction="pull the cube towards the robot base",
    max_episode_steps=50,
    reward_scale=3.0,
    place=functools.partial(_slide.place, direction=-1.0),
    observe=_slide.observe,
    success=_success,
    dense=_dense,
    ee_objects=("obj_pose",),
    ee_goals=("goal_pos",),
)
