"""What a task is: pure functions of what one can see of one environment's physics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Scene
from rpd_jax.types import Array


class View(NamedTuple):
    """One environment as its task sees it. Poses are (position, quaternion), world axes; no leading axes."""

    tcp: Array  # [7] of the tool centre point; its z axis points along the fingers
    joint_speed: Array  # [6] rad/s: what stands for an arm's joints, see `hand.joint_speeds`
    fingers: Array  # [2] metres of each finger from closed
    pose: Mapping[str, Array]  # body -> [7]
    velocity: Mapping[str, Array]  # body -> [6]: linear (m/s), angular (rad/s, the body's axes)
    grasped: Mapping[str, Array]  # graspable body -> bool: both fingers press on it from opposite sides
    goal: Mapping[str, Array]  # what `place` decided for this episode


class Placement(NamedTuple):
    """How an episode begins."""

    pose: Mapping[str, Array]  # body -> [7]; of a body that is not free only x, y and the turn about z count
    goal: Mapping[str, Array]  # anything that stays the same in an episode; markers are drawn at entries [3] or [7]


@dataclasses.dataclass(frozen=True)
class Task:
    """A task; everything else is the environment's (`env.py`).

    `observe` names the entries of the "state" observation after the hand's qpos and qvel, in order, as ManiSkill names
    its own. `dense` is ManiSkill's staged reward, at most `reward_scale`, which `normalized_dense` divides by.
    """

    scene: Scene
    instruction: str
    max_episode_steps: int
    reward_scale: float
    place: Callable[[Array], Placement]  # of a random key
    observe: Callable[[View], Mapping[str, Array]]  # entries [n] or scalars
    success: Callable[[View], Array]  # bool
    dense: Callable[[View, Array], Array]  # (view, success) -> reward of this state
    ee_objects: tuple[str, ...]  # poses [7] of `observe` that the end-effector observation is made of
    ee_goals: tuple[str, ...] = ()  # positions [3] likewise


def distance(a: Array, b: Array) -> Array:
    """Euclidean distance of two points [n]."""
    return jnp.linalg.norm(a - b)


def closeness(distance: Array, slope: float = 5.0) -> Array:
    """1 - tanh(slope * distance): ManiSkill's reward for coming near, 1 at distance 0."""
    return 1.0 - jnp.tanh(slope * distance)


def is_static(view: View, limit: float = 0.2) -> Array:
    """Whether no joint of the arm turns faster than `limit` rad/s."""
    return jnp.max(jnp.abs(view.joint_speed)) <= limit


def pose_at(position: Array, yaw: Array | float = 0.0) -> Array:
    """Pose [7] at a position [3], turned by `yaw` radians about z."""
    half = 0.5 * jnp.asarray(yaw, jnp.float32)
    zero = jnp.zeros(())
    return jnp.concatenate([position, jnp.stack([jnp.cos(half), zero, zero, jnp.sin(half)])])


def euler_z(quaternion: Array) -> Array:
    """The last of the intrinsic x-y-z angles [] (R = Rx Ry Rz) of a unit quaternion [4], radians."""
    w, x, y, z = quaternion
    return jnp.arctan2(2.0 * (w * z - x * y), 1.0 - 2.0 * (y * y + z * z))  # -R01, R00
