"""student.json: what an exported student sees, in which order and unit, what its actions mean, and its origin."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rpd_jax
from rpd_jax.envs.registry import task_info
from rpd_jax.export.fields import ActionField, Slice, action_fields, ranges_of, slices_of
from rpd_jax.export.parameters import Scale, scales
from rpd_jax.runs.files import read_json, write_json
from rpd_jax.training.student import Student
from rpd_jax.types import ActionContract, ActionStatistics

FORMAT = 2
PERIODS = 3  # of control: how old an observation may be that is acted on


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of the observation, as the environment gives it: the student normalises it itself."""

    shape: tuple[int, ...]  # without batch axis
    dtype: str
    layout: dict[str, Slice]  # empty for frames
    normalization: Scale | None
    # Of each number: what is outside is taken for a fault, see `fields`; None where unbounded. Empty for frames.
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class ActionEntry:
    """The action: already inside [low, high]."""

    shape: tuple[int, ...]
    dtype: str
    low: tuple[float | None, ...]  # None where unbounded
    high: tuple[float | None, ...]
    contract: ActionContract | None  # None for control modes that are not end-effector deltas
    fields: dict[str, ActionField]


@dataclasses.dataclass(frozen=True)
class Guards:
    """What `SafeStudent` of the runner does by default."""

    fallback: str = "hold"  # hold, zero or stop
    max_age_s: float | None = None  # seconds, of an observation that is acted on; None: whoever runs it must say


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
    axes: dict[str, str]  # name of a frame -> where it lies; empty where the suite does not say
    guards: Guards
    files: dict[str, str]  # name -> SHA-256 of its bytes
    library_version: str = rpd_jax.__version__
    format: int = FORMAT


def make_manifest(student: Student, files: Mapping[str, str]) -> Manifest:
    """Describes a student whose `files` (name -> SHA-256) lie beside the manifest."""
    spec, known, info = student.spec, scales(student.member.normalizer), task_info(student.config.env)
    observation = {}
    for name, array in student.observation.items():
        layout = slices_of(spec.layout.get(name, {}), info)
        # zero observations have no moments
        seen = known.get(name) if float(student.member.normalizer[name].count if name in known else 0) > 0 else None
        numbers = len(array.shape) == 1 and array.dtype == "float32"
        ranges = ranges_of(layout, seen, array.shape[0]) if numbers else ((), ())
        observation[name] = Entry(tuple(array.shape), array.dtype, layout, known.get(name), *ranges)
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
        action=ActionEntry(
            (spec.action_dim,),
            "float32",
            low,
            high,
            spec.contract,
            action_fields(spec.contract, spec.action_low, spec.action_high, info.control_hz),
        ),
        axes=dict(info.axes),
        guards=Guards(max_age_s=None if info.control_hz is None else PERIODS / info.control_hz),
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
    files = raw.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise ValueError(f"{path} is no manifest of a student: files must be SHA-256 by name")
    try:
        observation = {name: _entry(entry) for name, entry in raw.pop("observation").items()}
        read = {"observation": observation, "action": _action(raw["action"]), "guards": Guards(**raw["guards"])}
        return Manifest(**raw | read)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no manifest of a student: {error}") from error


def _entry(raw: Mapping[str, Any]) -> Entry:
    layout = {part: Slice(**where) for part, where in raw["layout"].items()}
    scale = raw["normalization"]
    scale = scale and Scale(tuple(scale["mean"]), tuple(scale["std"]), scale["clip"])
    return Entry(tuple(raw["shape"]), raw["dtype"], layout, scale, tuple(raw["low"]), tuple(raw["high"]))


def _action(raw: Mapping[str, Any]) -> ActionEntry:
    contract = raw["contract"]
    if contract is not None:
        statistics = contract["statistics"]
        if statistics is not None:
            statistics = {key: tuple(x) if isinstance(x, list) else x for key, x in statistics.items()}
            statistics = ActionStatistics(**statistics)
        contract = ActionContract(**contract | {"statistics": statistics})
    fields = {name: ActionField(**field) for name, field in raw["fields"].items()}
    return ActionEntry(tuple(raw["shape"]), raw["dtype"], tuple(raw["low"]), tuple(raw["high"]), contract, fields)
