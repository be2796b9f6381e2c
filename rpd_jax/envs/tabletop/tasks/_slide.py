"""What PushCube and PullCube share: a cube flat on the table, and along x from it the disc where it is to be."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Scene, cube, target_disc
from rpd_jax.envs.tabletop.task import Placement, View, distance, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cube's edge, metres
RADIUS = 0.1  # of the target
SCENE = Scene(bodies=(cube("cube", (0.05, 0.16, 0.63), HALF),), markers=(target_disc("goal_pos", RADIUS),))


def place(key: Array, direction: float) -> Placement:
    """The target begins 0.1 m from the cube, along x (`direction` 1) or against it (-1)."""
    xy = jax.random.uniform(key, (2,), minval=-0.1, maxval=0.1)
    goal = jnp.stack([xy[0] + direction * (0.1 + RADIUS), xy[1], jnp.asarray(1e-3)])
    return Placement(pose={"cube": pose_at(jnp.append(xy, HALF))}, goal={"goal_pos": goal})


def observe(view: View) -> Mapping[str, Array]:
    """ManiSkill's entries of both tasks."""
    return {"tcp_pose": view.tcp, "goal_pos": view.goal["goal_pos"], "obj_pose": view.pose["cube"]}


def aside(view: View) -> Array:
    """Metres between the cube and the target's middle, on the table."""
    return distance(view.pose["cube"][:2], view.goal["goal_pos"][:2])
