"""PickCube-v1: grasp the red cube and hold it still at the green goal in the air."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Marker, Scene, Shape, cube
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, is_static, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cube's edge, metres
RADIUS = 0.025  # of the goal


def _place(key: Array) -> Placement:
    spot, goal, height, turn = jax.random.split(key, 4)
    xy = jax.random.uniform(spot, (2,), minval=-0.1, maxval=0.1)
    yaw = jax.random.uniform(turn, (), minval=-jnp.pi, maxval=jnp.pi)
    goal_xy = jax.random.uniform(goal, (2,), minval=-0.1, maxval=0.1)
    goal_z = HALF + jax.random.uniform(height, (), maxval=0.3)
    return Placement(
        pose={"cube": pose_at(jnp.append(xy, HALF), yaw)},
        goal={"goal_pos": jnp.append(goal_xy, goal_z)},
    )


def _observe(view: View) -> Mapping[str, Array]:
    cube, goal = view.pose["cube"], view.goal["goal_pos"]
    return {
        "is_grasped": view.grasped["cube"],
        "tcp_pose": view.tcp,
        "goal_pos": goal,
        "obj_pose": cube,
        "tcp_to_obj_pos": cube[:3] - view.tcp[:3],
        "obj_to_goal_pos": goal - cube[:3],
    }


def _is_placed(view: View) -> Array:
    return distance(view.goal["goal_pos"], view.pose["cube"][:3]) <= RADIUS


def _success(view: View) -> Array:
    return _is_placed(view) & is_static(view)


def _dense(view: View, success: Array) -> Array:
    """Reach, grasp, bring to the goal, be still there."""
    cube, goal = view.pose["cube"][:3], view.goal["goal_pos"]
    grasped = view.grasped["cube"]
    reward = closeness(distance(cube, view.tcp[:3])) + grasped * (1.0 + closeness(distance(goal, cube)))
    reward = reward + _is_placed(view) * closeness(jnp.linalg.norm(view.joint_speed))
    return jnp.where(success, 5.0, reward)


TASK = Task(
    scene=Scene(
        bodies=(cube("cube", (0.9, 0.1, 0.1), HALF),),
        markers=(Marker("goal_pos", (Shape("sphere", (RADIUS,), (0.1, 0.85, 0.2), collide=False, opacity=0.5),)),),
    ),
    instruction="pick up the cube",
    max_episode_steps=50,
    reward_scale=5.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("obj_pose",),
    ee_goals=("goal_pos",),
)
