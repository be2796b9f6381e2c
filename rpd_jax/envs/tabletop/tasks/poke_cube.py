"""PokeCube-v1: grasp the blue peg and push the red cube onto the target with the peg's head."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Camera, Scene, cube, peg, target_disc
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, euler_z, is_static, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cube's edge, metres
HALF_LENGTH, HALF_WIDTH = 0.12, 0.025  # of the peg, metres
RADIUS = 0.05  # of the target
# As in ManiSkill the head's place takes no account of how the peg is turned.
HEAD = (HALF_LENGTH, 0.0, 0.0)


def _place(key: Array) -> Placement:
    peg_key, cube_key, turn_key = jax.random.split(key, 3)
    xy = jax.random.uniform(peg_key, (2,), minval=-0.1, maxval=0.1)
    x = xy[0] + HALF_LENGTH + 0.1
    y = jax.random.uniform(cube_key, (), minval=-0.1, maxval=0.1)
    yaw = jax.random.uniform(turn_key, (), minval=-jnp.pi / 6, maxval=jnp.pi / 6)
    return Placement(
        pose={
            "cube": pose_at(jnp.stack([x, y, jnp.asarray(HALF)]), yaw),
            "peg": pose_at(jnp.append(xy, HALF_WIDTH)),
        },
        goal={"target": jnp.stack([x + 0.05 + RADIUS, y, jnp.asarray(1e-3)])},
    )


def _head(view: View) -> Array:
    return view.pose["peg"][:3] + jnp.array(HEAD)


def _observe(view: View) -> Mapping[str, Array]:
    cube, peg = view.pose["cube"], view.pose["peg"]
    return {
        "tcp_pose": view.tcp,
        "cube_pose": cube,
        "peg_pose": peg,
        "goal_pos": peg[:3],  # not the target: ManiSkill gives the peg's position under this name
        "tcp_to_peg_pos": peg[:3] - view.tcp[:3],
        "peg_to_cube_pos": cube[:3] - peg[:3],
        "cube_to_goal_pos": view.goal["target"] - cube[:3],
        "peghead_to_cube_pos": _head(view) - cube[:3],
    }


def _is_placed(view: View) -> Array:
    return distance(view.pose["cube"][:2], view.goal["target"][:2]) < RADIUS


def _success(view: View) -> Array:
    return _is_placed(view) & is_static(view)


def _dense(view: View, success: Array) -> Array:
    """Grasp the peg at its middle (at most 2), bring head and cube together in line (4 to 6), push (7 to 8), be still.

    The steps from 4 on count only while the tool centre point is within 1 cm of the peg's middle.
    """
    cube, peg = view.pose["cube"], view.pose["peg"]
    reach = distance(view.tcp[:3], peg[:3])
    turned = jnp.abs(euler_z(peg[3:]) - euler_z(cube[3:]))
    gap = distance(_head(view)[:2], cube[:2])
    held = view.grasped["peg"] & (reach < 0.01)
    fits = held & (turned < 0.05) & (gap <= HALF + 0.005)
    reward = jnp.where(held, 4.0 + closeness(gap) + closeness(turned), 2.0 * closeness(reach))
    reward = jnp.where(fits, 7.0 + closeness(distance(view.goal["target"], cube[:3])), reward)
    reward = reward + _is_placed(view) * closeness(jnp.linalg.norm(view.joint_speed))
    return jnp.where(success, 10.0, reward)


TASK = Task(
    scene=Scene(
        bodies=(cube("cube", (0.9, 0.1, 0.1), HALF), peg("peg", HALF_LENGTH, HALF_WIDTH, (0.05, 0.16, 0.63))),
        markers=(target_disc("target", RADIUS),),
        camera=Camera(target=(0.2, 0.2, 0.35)),
        grip_force=10.0,
    ),
    instruction="push the cube by using the blue tool",
    max_episode_steps=50,
    reward_scale=10.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("cube_pose", "peg_pose"),
    ee_goals=("cube_to_goal_pos",),  # a difference, but the only entry that tells where the target is
)
