"""LIBERO's pick-and-place tasks: grasp from above, lift, carry over everything, set down or drop, let go.

What the object and its place are is told by the task in words; where they are, by the privileged state.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.types import Array
from teachers.scripted.geometry import Aim, Error, Fields, Task, between_fingers, hover, level, unit_interval


class Grasp(NamedTuple):
    """How LIBERO's objects are held, metres; the fingers close along the world's y."""

    at: tuple[float, float, float]  # the tool, from the origin of the object's body
    thickness: float  # between the fingers, at most
    bottom: float  # from the origin down to what the object stands on


class Place(NamedTuple):
    """How something is put there, metres above the goal position."""

    release: float  # the object's bottom when it is let go
    over: float  # its bottom on the way


GRASPS = {
    "alphabet soup": Grasp((0.0, 0.0, 0.015), 0.062, 0.038),
    "bbq sauce": Grasp((0.0, 0.0, 0.025), 0.046, 0.055),
    "butter": Grasp((0.0, 0.0, 0.004), 0.04, 0.009),
    "chocolate pudding": Grasp((0.0, 0.0, 0.004), 0.046, 0.013),
    "cream cheese": Grasp((-0.02, 0.0, 0.004), 0.042, 0.009),  # away from the can beside it
    "ketchup": Grasp((0.0, 0.0, 0.042), 0.036, 0.072),
    "milk": Grasp((0.0, 0.0, 0.03), 0.053, 0.07),
    "orange juice": Grasp((0.0, 0.0, 0.03), 0.053, 0.07),
    "salad dressing": Grasp((0.0, 0.0, 0.042), 0.036, 0.073),
    "tomato sauce": Grasp((0.0, 0.0, 0.015), 0.062, 0.038),
    "bowl": Grasp((0.0, 0.048, 0.032), 0.0, 0.0),  # its rim
}
BASKET = Place(0.10, 0.12)  # dropped from above its rim
ELSEWHERE = Place(0.008, 0.25)  # over the cabinet

_WORDS = re.compile(rf"(?:pick up|put) the (?:black )?({'|'.join(GRASPS)})\b.* (?:in|on) ")
_MORE = re.compile(r"\b(?:open|close|turn|and put the)\b")  # than one thing to do


def task_of(instruction: str) -> Task:
    """The script of a task in words, e.g. "pick up the milk and place it in the basket".

    Raises ValueError for a task that is not to pick up and place one of `GRASPS`.
    """
    found = _WORDS.search(instruction)
    if found is None or _MORE.search(instruction):
        raise ValueError(
            f"the task {instruction!r} has no scripted teacher: LIBERO's script picks up and places one object of "
            f"{sorted(GRASPS)}"
        )
    grasp, place = GRASPS[found[1]], BASKET if "basket" in instruction else ELSEWHERE
    return Task(
        {"qpos": None, "tcp_pose": 7, "target_pose": 7, "goal_pos": 3},
        functools.partial(_aim, grasp, place),
        None,
        functools.partial(_held, grasp),
    )


def _hold(grasp: Grasp, fields: Fields) -> Array:
    return fields["target_pose"][:3] + jnp.asarray(grasp.at)


def _held(grasp: Grasp, fields: Fields) -> Array:
    return between_fingers(fields, _hold(grasp, fields), grasp.thickness, near=0.025, far=0.04)


def _aim(grasp: Grasp, place: Place, fields: Fields, error: Error) -> Aim:
    tcp, target = fields["tcp_pose"], fields["target_pose"][:3]
    upwards = jnp.asarray([0.0, 0.0, 1.0])
    held = _held(grasp, fields)
    believed = _hold(grasp, fields) + error.approach
    gap = believed - tcp[:3]
    aside = jnp.linalg.norm(gap[:2])
    approach = believed + upwards * hover(aside, radius=0.01, height=0.12, slope=3.0)

    slot = fields["goal_pos"] + upwards * (grasp.bottom + place.release) + error.carry - target
    across = jnp.linalg.norm(slot[:2])
    rise = slot[2] + hover(across, radius=0.015, height=place.over - place.release, slope=3.0)
    clear = unit_interval((0.06 - rise) / 0.04)  # first up, then across
    carry = tcp[:3] + jnp.stack([clear * slot[0], clear * slot[1], rise])

    # over its place it is let go, whatever holds it
    there = unit_interval((0.03 - across) / 0.01) * unit_interval((0.045 + slot[2]) / 0.02)
    near = jnp.linalg.norm(gap) - (0.02 - error.grip)
    opening = (1.0 - held) * jnp.tanh(near / 0.008) - held
    position = approach + held * (carry - approach)
    position = position + there * (tcp[:3] - position)
    opening = opening + there * (1.0 - opening)

    finger = rotations.quaternion_apply(tcp[3:], jnp.asarray([1.0, 0.0, 0.0]))
    yaw = jnp.sin(2.0 * (jnp.pi / 2 - jnp.arctan2(finger[1], finger[0]))) / 2.0
    return Aim(position, level(tcp) + upwards * yaw, opening)
