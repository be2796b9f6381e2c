"""student.json: what an exported student sees, in which order and unit, what its actions mean, and its origin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rpd_jax
from rpd_jax.envs.registry import task_info
from rpd_jax.export.parameters import Scale, scales
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.training.student import Student
from rpd_jax.types import ActionContract, ActionStatistics

FORMAT = 1
_POSE = "m (x, y, z), quaternion (w, x, y, z)"
_ENDINGS = (
    ("_pose", 7, _POSE),
    ("_pose", 3, "m"),  # "ee" names the way to a pose after it
    ("_pos", 3, "m"),
    ("_position", 3, "m"),
    ("_rotation", 6, "1 (first two columns of the rotation matrix)"),
    ("_vel", 3, "m/s"),
    ("_half_size", 3, "m"),
    ("_radius", 1, "m"),
    ("width", 1, "m"),
    ("is_grasped", 1, "0 or 1"),
)


@dataclasses.dataclass(frozen=True)
class Slice:
    """A named part of an entry: [start, stop) and its unit, None where it is not known."""

    start: int
    stop: int
    unit: str | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of the observation, as the environment gives it: the student normalises it itself."""

    shape: tuple[int, ...]  # without batch axis
    dtype: str
    layout: dict[str, Slice]  # empty for frames
    normalization: Scale | None


@dataclasses.dataclass(frozen=True)
class ActionEntry:
    """The action: already inside [low, high]."""

    shape: tuple[int, ...]
    dtype: str
    low: tuple[float | None, ...]  # None where unbounded
    high: tuple[float | None, ...]
    contract: ActionContract | None  # None for control modes that are not end-effector deltas


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything but the weights; field by field what is in the file."""

    env: str  # suite:task
    instruction: str
    control_mode: str
    control_hz: float | None  # None where the environment does not say
    max_episode_steps: int
    variant: str
    seed: int
    iteration: int
    env_steps: int  # of training
    observation: dict[str, Entry]
    action: ActionEntry
    files: dict[str, str]  # name -> SHA-256 of its bytes
    library_version: str = rpd_jax.__version__
    format: int = FORMAT


def make_manifest(student: Student, files: Mapping[str, str]) -> Manifest:
    """Describes a student whose `files` (name -> SHA-256) lie beside the manifest."""
    spec, known, info = student.spec, scales(student.member.normalizer), task_info(student.config.env)
    observation = {
        name: Entry(
            tuple(array.shape),
            array.dtype,
            {
                part: Slice(start, stop, unit_of(part, stop - start, info.units))
                for part, (start, stop) in spec.layout.get(name, {}).items()
            },
            known.get(name),
        )
        for name, array in student.observation.items()
    }
    low, high = (
        tuple(float(x) if math.isfinite(x) else None for x in bound) for bound in (spec.action_low, spec.action_high)
    )
    return Manifest(
        env=spec.name,
        instruction=spec.instruction,
        control_mode=info.control_mode,
        control_hz=info.control_hz,
        max_episode_steps=spec.max_episode_steps,
        variant=student.variant,
        seed=student.seed,
        iteration=student.iteration,
        env_steps=student.env_steps,
        observation=observation,
        action=ActionEntry((spec.action_dim,), "float32", low, high, spec.contract),
        files=dict(files),
    )


def write_manifest(path: Path | str, manifest: Manifest) -> None:
    """Writes the manifest as JSON, atomically."""
    write_json(path, dataclasses.asdict(manifest))


def read_manifest(path: Path | str) -> Manifest:
    """Inverse of `write_manifest`; raises ValueError for a file that is none, or of another format."""
    raw = read_json(path, ValueError)
    found = raw.get("format")
    if found != FORMAT:
        raise ValueError(f"{path}: format={found!r} cannot be read: {FORMAT} can")
    try:
        observation = {name: _entry(entry) for name, entry in raw.pop("observation").items()}
        return Manifest(**raw | {"observation": observation, "action": _action(raw["action"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest of a student: {error}") from error


def unit_of(part: str, size: int, own: Mapping[str, tuple[int, str]]) -> str | None:
    """Unit of a named part of an observation; None where it is not known. `own`: see `TaskInfo.units`."""
    if part in own:
        joints, unit = own[part]
        return unit if size == joints else None
    return next((unit for ending, length, unit in _ENDINGS if part.endswith(ending) and size == length), None)


def _entry(raw: Mapping[str, Any]) -> Entry:
    layout = {part: Slice(**where) for part, where in raw["layout"].items()}
    scale = raw["normalization"]
    scale = scale and Scale(tuple(scale["mean"]), tuple(scale["std"]), scale["clip"])
    return Entry(tuple(raw["shape"]), raw["dtype"], layout, scale)


def _action(raw: Mapping[str, Any]) -> ActionEntry:
    contract = raw["contract"]
    if contract is not None:
        statistics = contract["statistics"]
        if statistics is not None:
            statistics = {key: tuple(x) if isinstance(x, list) else x for key, x in statistics.items()}
            statistics = ActionStatistics(**statistics)
        contract = ActionContract(**contract | {"statistics": statistics})
    return ActionEntry(tuple(raw["shape"]), raw["dtype"], tuple(raw["low"]), tuple(raw["high"]), contract)
