"""What the scripted tasks share: the aim of one step, and the action that serves it.

Everything here is for one observation (no batch axis); the teacher vmaps. Positions are metres in the world's
axes, rotation vectors radians in the world's axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.types import ActionContract, Array

Fields = Mapping[str, Array]
"""Named slices of one state observation, e.g. {"tcp_pose": [7]}."""

DOWN = (0.0, 1.0, 0.0, 0.0)
"""Quaternion of a gripper that points straight down, fingers opening along the base's y axis."""


class Aim(NamedTuple):
    """Where a scripted teacher wants the arm next."""

    position: Array  # [3] of the tool centre point, world axes
    rotation: Array  # [3] rotation vector still to be turned, world axes
    opening: Array  # [] from -1 (close) to 1 (open)


class Error(NamedTuple):
    """What a corrupted teacher gets wrong, metres."""

    approach: Array  # [3] error of the object's position while it is approached
    carry: Array  # [3] error of the target position while the object is held
    grip: Array  # [] how much nearer (positive: late) or farther (negative: early) the gripper closes


class Task(NamedTuple):
    """One scripted task. `place` says where the object lies in its spawn range, as a quantile in [0, 1].

    It is None where the object always lies there, or nearly so: an aiming error acts in all episodes or in none.
    """

    fields: Mapping[str, int | None]  # the slices needed and their lengths, None where any will do
    aim: Callable[[Fields, Error], Aim]
    place: Callable[[Fields], Array] | None
    held: Callable[[Fields], Array]  # 1 where the object is held or done with: an aiming error no longer acts
    base_yaw: float = 0.0  # of the robot's base in the world, radians
    gain: float = 1.0  # of the position error; below 1 for tasks that need slow hands


def unit_interval(x: Array) -> Array:
    """A smooth step from 0 (x <= 0) to 1 (x >= 1)."""
    x = jnp.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def uniform_quantile(x: Array, low: float, high: float) -> Array:
    """The quantile of x in a uniform distribution over [low, high]."""
    return jnp.clip((x - low) / (high - low), 0.0, 1.0)


def sum_of_uniforms_quantile(x: Array, a: float, b: float) -> Array:
    """The quantile of x in the distribution of U(-a, a) + U(-b, b)."""
    wide, narrow = a + b, abs(a - b)

    def ramp(t: Array) -> Array:
        return jnp.square(jnp.maximum(t, 0.0)) / 2.0

    # the density is a trapezoid with corners -wide, -narrow, narrow, wide: integrate its second differences
    area = ramp(x + wide) - ramp(x + narrow) - ramp(x - narrow) + ramp(x - wide)
    return jnp.clip(area / (4.0 * a * b), 0.0, 1.0)


def turn_to(current: Array, wanted: Array) -> Array:
    """The rotation vector [3], world axes, that turns the quaternion `current` into `wanted`."""
    return rotations.rotvec_from_quaternion(
        rotations.quaternion_multiply(wanted, rotations.quaternion_inverse(current))
    )


def level(tcp: Array) -> Array:
    """The rotation vector [3] that points the gripper of pose `tcp` [7] straight down, its yaw left alone."""
    pointing = rotations.quaternion_apply(tcp[3:7], jnp.asarray([0.0, 0.0, 1.0]))
    return jnp.cross(pointing, jnp.asarray([0.0, 0.0, -1.0]))


def align_yaw(tcp: Array, quaternion: Array) -> Array:
    """The turn about z [] that lines the fingers up with the nearest faces of a cube of that orientation.

    A sine of four times the angle stands for the angle: smooth where the nearest face changes.
    """
    finger = rotations.quaternion_apply(tcp[3:7], jnp.asarray([0.0, 1.0, 0.0]))
    angle = rotations.yaw_from_quaternion(quaternion) - jnp.arctan2(finger[1], finger[0])
    return jnp.sin(4.0 * angle) / 4.0


def width(fields: Fields) -> Array:
    """Metres [] between the fingers, the last two joints of "qpos" whatever the arm before them."""
    return fields["qpos"][-2] + fields["qpos"][-1]


def between_fingers(
    fields: Fields, point: Array, thickness: Array | float, near: float = 0.03, far: float = 0.05
) -> Array:
    """1 where an object's `point` [3] sits between fingers closed on its `thickness`, for states without a grasp flag.

    Falls to 0 as the point's distance from the tool centre point grows from `near` to `far`; all metres.
    """
    gap = jnp.linalg.norm(point - fields["tcp_pose"][:3])
    return unit_interval((far - gap) / (far - near)) * unit_interval((thickness + 0.012 - width(fields)) / 0.008)


def hover(distance: Array, radius: float, height: float, slope: float) -> Array:
    """Height [] above a target to keep at a horizontal distance from it: a funnel with a flat rim.

    Zero within `radius`, then rising by `slope`, never more than `height`; all metres.
    """
    return height * jnp.tanh(slope * jnp.maximum(distance - radius, 0.0) / height)


def action_of(aim: Aim, tcp: Array, contract: ActionContract, base_yaw: float, gain: float) -> Array:
    """The action [7] in `contract` that moves the tool from pose `tcp` [7] towards `aim`, inside the box.

    The translation is shortened as a whole, so its direction survives the box.
    """
    move = gain * rotations.turn_about_z(aim.position - tcp[:3], -base_yaw) / contract.translation_scale
    turn = contract.rotation_sign * rotations.turn_about_z(aim.rotation, -base_yaw) / contract.rotation_scale
    move, turn = (v / jnp.maximum(1.0, jnp.linalg.norm(v)) for v in (move, turn))
    middle = (contract.gripper_open + contract.gripper_closed) / 2.0
    reach = (contract.gripper_open - contract.gripper_closed) / 2.0
    grip = middle + reach * jnp.clip(aim.opening, -1.0, 1.0)
    return jnp.concatenate([move, turn, grip[None]])
