"""StackCube-v1: set the red cube A down on the green cube B and let go of it."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.hand import FINGER_OPEN
from rpd_jax.envs.tabletop.scene import Scene, cube
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cubes' edges, metres
DIAGONAL = HALF * 2**0.5  # half of a face's
APART = 2 * (DIAGONAL + 0.001)  # the least distance of the cubes when an episode begins, metres
CANDIDATES = 8  # for cube B: one is too close with a chance of at most 13.5 %, all of them with one of 1e-7


def _place(key: Array) -> Placement:
    shift_key, a_key, b_key, turn_key = jax.random.split(key, 4)
    shift = jax.random.uniform(shift_key, (2,), minval=-0.1, maxval=0.1)
    corner = jnp.array([0.1, 0.2])
    a = jax.random.uniform(a_key, (2,), minval=-corner, maxval=corner)
    candidates = jax.random.uniform(b_key, (CANDIDATES, 2), minval=-corner, maxval=corner)
    # the first that is far enough away, as if one drew until it is
    b = candidates[jnp.argmax(jnp.linalg.norm(candidates - a[None], axis=-1) > APART)]
    yaw = jax.random.uniform(turn_key, (2,), minval=-jnp.pi, maxval=jnp.pi)
    cubes = {"cubeA": (a, yaw[0]), "cubeB": (b, yaw[1])}
    return Placement(
        pose={name: pose_at(jnp.append(shift + xy, HALF), angle) for name, (xy, angle) in cubes.items()}, goal={}
    )


def _observe(view: View) -> Mapping[str, Array]:
    a, b = view.pose["cubeA"], view.pose["cubeB"]
    return {
        "tcp_pose": view.tcp,
        "cubeA_pose": a,
        "cubeB_pose": b,
        "tcp_to_cubeA_pos": a[:3] - view.tcp[:3],
        "tcp_to_cubeB_pos": b[:3] - view.tcp[:3],
        "cubeA_to_cubeB_pos": b[:3] - a[:3],
    }


def _is_stacked(view: View) -> Array:
    offset = view.pose["cubeA"][:3] - view.pose["cubeB"][:3]
    aside, above = jnp.linalg.norm(offset[:2]), offset[2] - 2 * HALF
    return (aside <= DIAGONAL + 0.005) & (jnp.abs(above) <= 0.005)


def _speeds(view: View) -> tuple[Array, Array]:
    """Of cube A, m/s and rad/s."""
    velocity = view.velocity["cubeA"]
    return jnp.linalg.norm(velocity[:3]), jnp.linalg.norm(velocity[3:])


def _success(view: View) -> Array:
    linear, angular = _speeds(view)
    return _is_stacked(view) & (linear <= 0.01) & (angular <= 0.5) & ~view.grasped["cubeA"]


def _dense(view: View, success: Array) -> Array:
    """Reach (at most 2), grasp and bring over cube B (4 to 5), open the fingers and be still there (6 to 7)."""
    a, b, grasped = view.pose["cubeA"][:3], view.pose["cubeB"][:3], view.grasped["cubeA"]
    carry = 4.0 + closeness(distance(b + jnp.array([0.0, 0.0, 2 * HALF]), a))
    reward = jnp.where(grasped, carry, 2.0 * closeness(distance(view.tcp[:3], a)))
    opened = jnp.where(grasped, jnp.mean(view.fingers) / FINGER_OPEN, 1.0)
    linear, angular = _speeds(view)
    still = closeness(10.0 * linear + angular, 1.0)
    reward = jnp.where(_is_stacked(view), 6.0 + 0.5 * (opened + still), reward)
    return jnp.where(success, 8.0, reward)


TASK = Task(
    scene=Scene(
        bodies=(cube("cubeA", (0.9, 0.1, 0.1), HALF), cube("cubeB", (0.1, 0.85, 0.2), HALF)),
        home_yaw=1.5707963,  # the arm with the wrist camera begins turned
    ),
    instruction="stack the red cube on the green cube",
    max_episode_steps=50,
    reward_scale=8.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("cubeA_pose", "cubeB_pose"),
)
