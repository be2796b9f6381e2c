"""Simplified rewards, "v2" and "v3" of `env.reward`: one definition per task for every suite that has it.

The idea is VLAJS's (arXiv 2604.13733), whose authors have not published their environments; the definitions are ours:

* "v3" is one distance term: how near the object is to where the task wants it, or, for LiftPegUpright, how upright it
  is. It does not depend on the hand.
* "v2" is what the last stage of the dense reward pays for. It is 0 until the object has left the place where it lies
  when an episode begins (for PokeCube: until the tool's head is at the cube), and never pays for reaching or grasping.

Both are at most 1 a step, and 1 at success. Without contact v2 is 0, v3 constant during an episode: neither leads a
policy to the object.

They are functions of the named entries of one "state" observation (`EnvSpec.layout["state"]`; both suites name them
alike), numpy's or JAX's arrays with any leading axes. This file imports neither JAX nor a simulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.types import Array

KINDS = ("v2", "v3")

CUBE = 0.02  # half edge of the cubes, metres
PEG_LENGTH, PEG_WIDTH = 0.12, 0.025  # half length and half width of LiftPegUpright's peg, metres
RAISED = 0.01  # metres above where it lay: a 4 cm cube that only tips over its edge rises by 8 mm
MOVED = 0.01  # metres by which PushCube's cube must have come nearer to its goal
PUSH_WAY = 0.2  # metres between the two when an episode begins
TOUCHING = CUBE + 0.005  # metres between the cube's middle and a head that pokes it, as in PokeCube's dense reward

Entries = Mapping[str, Array]
"""Named slices [..., n] of "state"; poses are (position, quaternion w x y z)."""


def check(task: str, kind: str) -> None:
    """Raises ConfigError where `kind` is a simplified reward that the task has not; other kinds pass."""
    if kind in KINDS and task not in SIMPLIFIED:
        raise ConfigError(f"env.reward={kind!r} cannot work in {task}: it can in {', '.join(SIMPLIFIED)}")


def simplified(task: str, kind: str) -> Callable[[Entries, Array], Array]:
    """The function (entries, success [...]) -> reward [...] in [0, 1] of a task.

    Raises ConfigError for another kind than `KINDS`, and for a task that has none.
    """
    choice("env.reward", kind, KINDS)
    check(task, kind)
    shaping = SIMPLIFIED[task][KINDS.index(kind)]

    def reward(entries: Entries, success: Array) -> Array:
        value = shaping(entries)
        return _namespace(value).where(success, 1.0, value)

    return reward


def _pick_cube_v3(entries: Entries) -> Array:
    return _closeness(_norm(entries["goal_pos"] - entries["obj_pose"][..., :3]))


def _pick_cube_v2(entries: Entries) -> Array:
    return _is_raised(entries["obj_pose"], CUBE) * _pick_cube_v3(entries)


def _pick_place_cube_v3(entries: Entries) -> Array:
    """`goal_pos` is on the surface on which the cube is to stand, half an edge below the cube's middle."""
    offset = entries["goal_pos"] - entries["obj_pose"][..., :3]
    aside, below = _norm(offset[..., :2]), offset[..., 2] + CUBE
    return _closeness(_namespace(aside).hypot(aside, below))


def _pick_place_cube_v2(entries: Entries) -> Array:
    return _is_raised(entries["obj_pose"], CUBE) * _pick_place_cube_v3(entries)


def _lift_peg_v3(entries: Entries) -> Array:
    """From 0, lying, to 1, upright: linear in the angle between the peg and the table."""
    up = _long_axis(entries["obj_pose"])[2]
    xp = _namespace(up)
    return xp.arcsin(xp.clip(xp.abs(up), 0.0, 1.0)) / (math.pi / 2)


def _lift_peg_v2(entries: Entries) -> Array:
    """Once some of the peg is off the table, the dense reward without reaching: turned up, as high as if it stood.

    Each pays at most a third, as there, so that success, which pays 1, is worth more than a peg that nearly stands.
    """
    pose = entries["obj_pose"]
    xp = _namespace(pose)
    turned, low = xp.abs(_long_axis(pose)[2]), xp.abs(pose[..., 2] - PEG_LENGTH)
    return _is_raised(pose, PEG_WIDTH) * (turned + _closeness(low)) / 3.0


def _peg_insertion_v3(entries: Entries) -> Array:
    """Of the peg's head to the middle of the hole."""
    peg, size, hole = (entries[name] for name in ("peg_pose", "peg_half_size", "box_hole_pose"))
    xp = _namespace(peg)
    head = peg[..., :3] + size[..., :1] * xp.stack(_long_axis(peg), axis=-1)
    return _closeness(_norm(head - hole[..., :3]))


def _peg_insertion_v2(entries: Entries) -> Array:
    return _is_raised(entries["peg_pose"], entries["peg_half_size"][..., 2]) * _peg_insertion_v3(entries)


def _poke_cube_v3(entries: Entries) -> Array:
    return _closeness(_norm(entries["cube_to_goal_pos"][..., :2]))


def _poke_cube_v2(entries: Entries) -> Array:
    return (_norm(entries["peghead_to_cube_pos"][..., :2]) <= TOUCHING) * _poke_cube_v3(entries)


def _way_to_push(entries: Entries) -> Array:
    return _norm(entries["goal_pos"][..., :2] - entries["obj_pose"][..., :2])


def _push_cube_v3(entries: Entries) -> Array:
    return _closeness(_way_to_push(entries))


def _push_cube_v2(entries: Entries) -> Array:
    return (_way_to_push(entries) < PUSH_WAY - MOVED) * _push_cube_v3(entries)


SIMPLIFIED: Mapping[str, tuple[Callable[[Entries], Array], Callable[[Entries], Array]]] = {
    "PickCube-v1": (_pick_cube_v2, _pick_cube_v3),
    "PickPlaceCube-v1": (_pick_place_cube_v2, _pick_place_cube_v3),
    "LiftPegUpright-v1": (_lift_peg_v2, _lift_peg_v3),
    "PegInsertionSide-v1": (_peg_insertion_v2, _peg_insertion_v3),
    "PokeCube-v1": (_poke_cube_v2, _poke_cube_v3),
    "PushCube-v1": (_push_cube_v2, _push_cube_v3),
}
"""Task -> what v2 and v3 pay before success."""


def _namespace(x: Any) -> Any:
    """numpy or jax.numpy, whosever array it is."""
    return x.__array_namespace__()


def _norm(vector: Array) -> Array:
    xp = _namespace(vector)
    return xp.sqrt(xp.sum(vector * vector, axis=-1))


def _closeness(distance: Array) -> Array:
    """ManiSkill's reward for coming near: 1 at distance 0."""
    return 1.0 - _namespace(distance).tanh(5.0 * distance)


def _is_raised(pose: Array, lying: Array | float) -> Array:
    """Whether an object whose middle is at height `lying` while it lies on the table is above that."""
    return pose[..., 2] - lying > RAISED


def _long_axis(pose: Array) -> tuple[Array, Array, Array]:
    """World coordinates of the body's x axis."""
    w, x, y, z = (pose[..., 3 + i] for i in range(4))
    return 1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)
