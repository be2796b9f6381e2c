"""RollBall-v1: knock the ball towards the robot's far side, so that it rolls onto the target.

Departure from ManiSkill, which remembers whether the hand has ever been behind the ball: a task here sees one state, so
the hand counts as having been there also from when the ball has come nearer to the target.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Body, Camera, Scene, Shape, target_disc
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance
from rpd_jax.types import Array

BALL = 0.035  # radius, metres
RADIUS = 0.1  # of the target
BEHIND = BALL + 0.05  # from the ball's middle to where one hits it from, metres
MOVED = 0.01  # a ball that is this much nearer to the target has been hit, metres


def _place(key: Array) -> Placement:
    ball_key, goal_key = jax.random.split(key)
    ball = jax.random.uniform(ball_key, (2,), minval=jnp.array([-0.4, 0.5]), maxval=jnp.array([0.2, 0.7]))
    goal = jax.random.uniform(goal_key, (2,), minval=jnp.array([-0.4, -0.9]), maxval=jnp.array([0.2, -0.7]))
    return Placement(
        pose={"ball": jnp.concatenate([ball, jnp.array([BALL, 1.0, 0.0, 0.0, 0.0])])},
        goal={"goal_pos": jnp.append(goal, 1e-3), "first_way": distance(ball, goal)},
    )


def _observe(view: View) -> Mapping[str, Array]:
    ball, goal = view.pose["ball"], view.goal["goal_pos"]
    return {
        "tcp_pose": view.tcp,
        "goal_pos": goal,
        "ball_pose": ball,
        "ball_vel": view.velocity["ball"][:3],
        "tcp_to_ball_pos": ball[:3] - view.tcp[:3],
        "ball_to_goal_pos": goal - ball[:3],
    }


def _way(view: View) -> Array:
    return distance(view.pose["ball"][:2], view.goal["goal_pos"][:2])


def _success(view: View) -> Array:
    return _way(view) < RADIUS


def _dense(view: View, success: Array) -> Array:
    """Get behind the ball (at most 1); then bring it nearer to the target (at most 21)."""
    ball, goal = view.pose["ball"][:3], view.goal["goal_pos"]
    back = (ball - goal) / jnp.maximum(distance(ball, goal), 1e-6)
    gap = distance(ball + BEHIND * back, view.tcp[:3])
    hit = (gap < 0.04) | (view.goal["first_way"] - _way(view) > MOVED)
    reward = jnp.where(hit, 1.0 + 20.0 * closeness(_way(view), 1.0), closeness(gap, 2.0))
    return jnp.where(success, 30.0, reward)


TASK = Task(
    scene=Scene(
        bodies=(Body("ball", (Shape("sphere", (BALL,), (0.0, 0.2, 0.8)),), mass=0.1796),),  # of water's density
        markers=(target_disc("goal_pos", RADIUS),),
        camera=Camera(eye=(-0.6, 1.3, 0.8), target=(0.0, 0.13, 0.0)),
        home=(-0.0998, 0.3854, 0.1695),
        home_yaw=-1.5707963,
        base_yaw=-1.5707963,  # the base stands at (-0.1, 1.0) and looks along -y
    ),
    instruction="push the ball",
    max_episode_steps=80,
    reward_scale=30.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("ball_pose",),
    ee_goals=("goal_pos",),
)
