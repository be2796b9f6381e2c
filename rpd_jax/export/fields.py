"""What the numbers of observations and actions are: units, frames, and the ranges that a robot's messages must keep.

A range is what training saw, by the moments of its observations, widened where that hardly varied, and cut where a
number cannot be more: the parts of a rotation matrix are in [-1, 1].
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from rpd_jax.envs.suite import TaskInfo
from rpd_jax.export.parameters import Scale
from rpd_jax.types import ActionContract

POSE = "m (x, y, z), quaternion (w, x, y, z)"
ROTATION = "1 (first two columns of the rotation matrix)"
BOOLEAN = "0 or 1"
_ENDINGS = (  # of a part's name, its length, its unit, and the frame in whose axes it is
    ("_pose", 7, POSE, "world"),
    ("_pose", 3, "m", "world"),  # "ee" names the way to a pose after it
    ("_pos", 3, "m", "world"),
    ("_position", 3, "m", "world"),
    ("_rotation", 6, ROTATION, "world"),
    ("_vel", 3, "m/s", "world"),
    ("_half_size", 3, "m", None),
    ("_radius", 1, "m", None),
    ("width", 1, "m", None),
    ("is_grasped", 1, BOOLEAN, None),
)
_LEAST = {"m": 0.05, "rad": 0.1, "m/s": 0.5, "rad/s": 1.0}  # half of a range at least, in the unit
_LEAST_OTHERWISE = 0.1
_HARD = {ROTATION: (-1.0, 1.0), "quaternion": (-1.0, 1.0), BOOLEAN: (0.0, 1.0)}
_ROUNDING = 1e-3  # what a sensor may be beyond a hard bound
SLACK = 1.25  # a loop's period is never quite its nominal one: default rates do not bind at the rate of training


@dataclasses.dataclass(frozen=True)
class Slice:
    """A named part of an entry: [start, stop), its unit and the frame of its axes, None where they are not known."""

    start: int
    stop: int
    unit: str | None
    frame: str | None = None


@dataclasses.dataclass(frozen=True)
class ActionField:
    """A named part [start, stop) of the action."""

    start: int
    stop: int
    unit: str | None
    scale: float  # units for each 1 of the action
    frame: str | None
    kind: str | None  # "delta": 0 is to stay; "absolute": a target, which is kept; None: not known
    rest: float | None  # of an absolute one before the first command; None: not known
    max_rate: float | None  # units a second, Euclidean norm of the part: how fast it may move, or its target may


def unit_of(part: str, size: int, own: Mapping[str, tuple[int, str]]) -> str | None:
    """Unit of a named part of an observation; None where it is not known. `own`: see `TaskInfo.units`."""
    return _known(part, size, own)[0]


def slices_of(layout: Mapping[str, tuple[int, int]], info: TaskInfo) -> dict[str, Slice]:
    """An entry's parts; frames are named where the suite says what they are (`TaskInfo.axes`)."""
    found = {}
    for part, (start, stop) in layout.items():
        unit, frame = _known(part, stop - start, info.units)
        found[part] = Slice(start, stop, unit, frame if frame in info.axes else None)
    return found


def ranges_of(
    layout: Mapping[str, Slice], scale: Scale | None, size: int
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Lowest and highest sound values of an entry's numbers [size], None where there is no bound.

    `scale` is None where training kept no moments: then hard bounds are all there is.
    """
    low, high = [], []
    for i, unit in enumerate(units_of(layout, size)):
        least, most = (None, None) if unit not in _HARD else (_HARD[unit][0] - _ROUNDING, _HARD[unit][1] + _ROUNDING)
        if scale is not None:
            # beyond `clip` standard deviations the student itself could not tell one value from another
            half = max(scale.clip * scale.std[i], _LEAST.get(unit or "", _LEAST_OTHERWISE))
            least = scale.mean[i] - half if least is None else max(least, scale.mean[i] - half)
            most = scale.mean[i] + half if most is None else min(most, scale.mean[i] + half)
        low.append(least)
        high.append(most)
    return tuple(low), tuple(high)


def units_of(layout: Mapping[str, Slice], size: int) -> list[str | None]:
    """The unit of each of an entry's numbers; None where it is not known."""
    units: list[str | None] = [None] * size
    for part in layout.values():
        units[part.start : part.stop] = _each(part.unit, part.stop - part.start)
    return units


def action_fields(
    contract: ActionContract | None, low: tuple[float, ...], high: tuple[float, ...], control_hz: float | None
) -> dict[str, ActionField]:
    """The parts of an action in the box [low, high]; one of unknown kind where there is no contract.

    Default rates are what the box allows at the rate of control, and a little more: a loop that runs too fast is what
    they stop.
    """
    if contract is None:
        return {"action": ActionField(0, len(low), None, 1.0, None, None, None, None)}
    parts = {
        "translation": (0, 3, "m", contract.translation_scale, contract.frame, "delta", None),
        "rotation": (3, 6, "rad", contract.rotation_scale, contract.frame, "delta", None),
        "gripper": (
            6,
            7,
            f"1 ({contract.gripper_closed:g} closed, {contract.gripper_open:g} open)",
            1.0,
            None,
            "absolute",
            contract.gripper_open,
        ),
    }
    fields = {}
    for name, (start, stop, unit, scale, frame, kind, rest) in parts.items():
        sides = zip(low[start:stop], high[start:stop], strict=True)
        most = [max(abs(a), abs(b)) if kind == "delta" else b - a for a, b in sides]
        rate = None if control_hz is None else SLACK * control_hz * scale * sum(x * x for x in most) ** 0.5
        fields[name] = ActionField(start, stop, unit, scale, frame, kind, rest, rate)
    return fields


def _known(part: str, size: int, own: Mapping[str, tuple[int, str]]) -> tuple[str | None, str | None]:
    if part in own:
        joints, unit = own[part]
        return (unit if size == joints else None), "joints"
    found = ((unit, frame) for ending, length, unit, frame in _ENDINGS if part.endswith(ending) and size == length)
    return next(found, (None, None))


def _each(unit: str | None, size: int) -> list[str | None]:
    """The unit of each number of a part: "3 m, 3 rad" are six units."""
    if unit == POSE:
        return [*["m"] * 3, *["quaternion"] * 4]
    listed = [re.fullmatch(r"(\d+) (\S+)", each) for each in (unit or "").split(", ")]
    if all(listed):
        return [match[2] for match in listed if match for _ in range(int(match[1]))]
    return [unit] * size
