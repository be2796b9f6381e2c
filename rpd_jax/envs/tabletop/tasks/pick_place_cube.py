"""PickPlaceCube-v1: grasp the red cube, set it down on the low pedestal, let go and be still.

Named after a task of VLAJS; ManiSkill has none of that name, so geometry, reward and rules are this suite's own. The
pedestal stays where it is and is as high as half the cube: whoever only pushes does not get the cube onto it.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.hand import FINGER_OPEN
from rpd_jax.envs.tabletop.scene import Body, Scene, box, cube, target_disc
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, is_static, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cube's edge, metres
PEDESTAL = (0.045, 0.045, 0.01)  # half edges, metres
TOP = 2 * PEDESTAL[2]  # its height
RADIUS = 0.025  # how far from the pedestal's middle the cube may rest, metres
APART = 0.12  # the least distance of cube and pedestal when an episode begins, metres
CLEAR = 0.04  # how far above its place the cube is carried, metres


def _place(key: Array) -> Placement:
    spot, turn, along, across = jax.random.split(key, 4)
    xy = jax.random.uniform(spot, (2,), minval=-0.1, maxval=0.1)
    yaw = jax.random.uniform(turn, (), minval=-jnp.pi, maxval=jnp.pi)
    x = jax.random.uniform(along, (), minval=-0.1, maxval=0.1)
    # y is uniform in what a disc around the cube leaves of [-0.2, 0.2], to its right and to its left
    half = jnp.sqrt(jnp.maximum(APART**2 - jnp.square(x - xy[0]), 0.0))
    right = jnp.maximum(xy[1] - half + 0.2, 0.0)
    left = jnp.maximum(0.2 - xy[1] - half, 0.0)
    y = jax.random.uniform(across, ()) * (right + left)
    y = jnp.where(y < right, y - 0.2, y - right + xy[1] + half)
    return Placement(
        pose={
            "cube": pose_at(jnp.append(xy, HALF), yaw),
            "pedestal": pose_at(jnp.stack([x, y, jnp.asarray(PEDESTAL[2])])),
        },
        goal={"goal_pos": jnp.stack([x, y, jnp.asarray(TOP)])},
    )


def _observe(view: View) -> Mapping[str, Array]:
    cube, goal = view.pose["cube"], view.goal["goal_pos"]
    return {
        "is_grasped": view.grasped["cube"],
        "tcp_pose": view.tcp,
        "goal_pos": goal,  # the middle of the pedestal's upper side
        "obj_pose": cube,
        "tcp_to_obj_pos": cube[:3] - view.tcp[:3],
        "obj_to_goal_pos": goal - cube[:3],
    }


def _offset(view: View) -> tuple[Array, Array]:
    """Metres by which the cube is off its place: aside, and above it (negative: below)."""
    offset = view.pose["cube"][:3] - view.goal["goal_pos"]
    return jnp.linalg.norm(offset[:2]), offset[2] - HALF


def _is_placed(view: View) -> Array:
    aside, above = _offset(view)
    return (aside <= RADIUS) & (jnp.abs(above) <= 0.005)


def _success(view: View) -> Array:
    return _is_placed(view) & ~view.grasped["cube"] & is_static(view)


def _dense(view: View, success: Array) -> Array:
    """Reach (at most 1), grasp (1), carry (1), lower (1); 5 on the pedestal, let go there (1), be still (1); in all 8.

    Carried is a cube above its place; until it is, it should also be `CLEAR` above that place's height, so that lifting
    it brings it nearer. No reward falls on this way.
    """
    aside, above = _offset(view)
    grasped = view.grasped["cube"]
    lift = CLEAR * jnp.clip(aside / RADIUS - 1.0, 0.0, 1.0)
    carry = closeness(jnp.maximum(aside - RADIUS, 0.0) + jnp.maximum(lift - above, 0.0))
    lower = closeness(jnp.abs(above)) * (aside <= RADIUS)
    reach = closeness(distance(view.pose["cube"][:3], view.tcp[:3]))
    opened = jnp.where(grasped, 0.5 * jnp.mean(view.fingers) / FINGER_OPEN, 1.0)
    still = closeness(jnp.linalg.norm(view.joint_speed)) * ~grasped
    reward = jnp.where(_is_placed(view), 5.0 + opened + still, reach + grasped * (1.0 + carry + lower))
    return jnp.where(success, 8.0, reward)


def _pedestal() -> Body:
    return Body("pedestal", (box(PEDESTAL, (0.55, 0.4, 0.3)),), free=False, height=PEDESTAL[2])


TASK = Task(
    scene=Scene(bodies=(cube("cube", (0.9, 0.1, 0.1), HALF), _pedestal()), markers=(target_disc("goal_pos", RADIUS),)),
    instruction="pick up the cube and place it on the target",
    max_episode_steps=100,
    reward_scale=8.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("obj_pose",),
    ee_goals=("goal_pos",),
)
