"""results.json: the table of a run, with what is needed to tell which run it was."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import numbers
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rpd_jax.config.validation import ConfigError
from rpd_jax.report.intervals import KINDS
from rpd_jax.runs.files import read_json, write_json

RESULTS_FILE = "results.json"
TABLE_FILE, VIDEO_FILE, GIF_FILE = "table.md", "episodes.mp4", "episodes.gif"
DIAGNOSTICS_FILE = "diagnostics.png"
CURVES_FILE, CALLS_FILE, POINTS_FILE = "curves.png", "calls.png", "curves.json"
COMPARISON_FILE = "comparison.json"
FILES = (RESULTS_FILE, TABLE_FILE, POINTS_FILE, CURVES_FILE, CALLS_FILE, DIAGNOSTICS_FILE, VIDEO_FILE, GIF_FILE)
"""All that a run or an evaluation shows of itself."""
SCRIPTED = ("scripted", "toy", "expert")  # kinds of teachers that are scripts
TEACHER_PREFIX = "teacher:"
PACKAGES = (
    "rpd_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "mani_skill",
    "sapien",
    "torch",
)

_COUNTS = ("seeds", "env_steps", "teacher_calls")
_RATES = ("success_once", "success_at_end", "low", "high")
_OLD_KIND = "bootstrap"  # of rows over seeds that were written before rows said their kind; too narrow


@dataclasses.dataclass(frozen=True)
class ResultRow:
    """A line of the table: one variant over its seeds, or one teacher.

    A teacher's variant is "teacher:<name>"; it has no seeds and no training steps. In JSON `episode_return`
    is called "return".
    """

    env: str  # suite:task
    variant: str
    seeds: int
    env_steps: int  # of training, per member
    teacher_calls: int  # transitions that the teacher labelled for this variant, all seeds together
    success_once: float  # share of episodes with a success at any step
    success_at_end: float  # share of episodes with success at their last step
    low: float  # of success_once: both ends of what
    high: float  # `interval` says
    interval: str  # of `intervals.KINDS`; "bootstrap" in rows that older versions wrote
    episode_return: float  # mean sum of rewards
    seconds: float  # wall time of the training, shared by all variants of a run
    note: str = ""  # what a reader must know of the run, e.g. "diverged at iteration 7 (1 of 3 seeds)"

    def __post_init__(self) -> None:
        for name in ("env", "variant"):
            _require(isinstance(getattr(self, name), str) and getattr(self, name), name, self, "a name")
        _require(isinstance(self.note, str), "note", self, "a text")
        for name in _COUNTS:
            value = getattr(self, name)
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            _require(whole and value >= 0, name, self, "a whole number of at least 0")
        _require(self.interval in (*KINDS, _OLD_KIND), "interval", self, f"one of {', '.join(KINDS)}")
        for name in (*_RATES, "episode_return", "seconds"):
            value = getattr(self, name)
            finite = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
            _require(finite, name, self, "a finite number")
        for name in _RATES:
            _require(0 <= getattr(self, name) <= 1, name, self, "in [0, 1]")
        _require(self.low <= self.high, "low", self, f"at most high={self.high!r}")
        _require(self.seconds >= 0, "seconds", self, "at least 0")

    @property
    def is_teacher(self) -> bool:
        return self.variant.startswith(TEACHER_PREFIX)

    @property
    def teacher_label(self) -> str:
        """What pictures call a teacher: toys are labelled as such."""
        return "scripted teacher" if self.is_scripted else self.variant

    @property
    def is_scripted(self) -> bool:
        """Whether it is a teacher that is a script."""
        return self.is_teacher and self.variant.removeprefix(TEACHER_PREFIX).startswith(SCRIPTED)

    def to_json(self) -> dict[str, str | int | float]:
        """The row with exactly the keys of `ROW_KEYS`, plain Python values."""
        row: dict[str, str | int | float] = {}
        for key in ROW_KEYS:
            value = getattr(self, _attribute(key))
            row[key] = value if isinstance(value, str) else int(value) if key in _COUNTS else float(value)
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ResultRow:
        """Inverse of `to_json`, also for rows of older versions, which have neither notes nor kinds of intervals.

        Raises:
          ValueError: for other missing or unknown keys and impossible values.
        """
        row = {"note": "", "interval": "episodes" if row.get("seeds") in (0, 1) else _OLD_KIND, **row}
        _check_keys("row", row, ROW_KEYS)
        return cls(**{_attribute(key): value for key, value in row.items()})


ROW_KEYS = tuple("return" if field.name == "episode_return" else field.name for field in dataclasses.fields(ResultRow))


@dataclasses.dataclass(frozen=True)
class Results:
    """All of results.json."""

    rows: tuple[ResultRow, ...]
    fingerprint: str
    versions: Mapping[str, str]
    config: Mapping[str, Any]
    teacher_checkpoint: str = ""  # digest of what the teacher was loaded from


def package_versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed; nothing is imported for it."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def commit() -> str:
    """Of the checkout that this package lies in, as `git describe` has it; empty where it is installed elsewhere."""
    here = Path(__file__)
    # An installed package may lie inside the checkout of another project, which does not track it.
    if _git("ls-files", "--error-unmatch", here.name, cwd=here.parent) is None:
        return ""
    return _git("describe", "--always", "--dirty", cwd=here.parent) or ""


def fingerprint(config: Mapping[str, Any], versions: Mapping[str, str], teacher: str = "") -> str:
    """Twelve hexadecimal digits that tell two configurations, sets of versions or teacher's checkpoints apart."""
    known = [config, versions, teacher] if teacher else [config, versions]
    canonical = json.dumps(known, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def write_results(path: Path | str, rows: Sequence[ResultRow], config: Mapping[str, Any], teacher: str = "") -> Results:
    """Writes results.json atomically.

    Args:
      path: of the file.
      rows: the teacher's and the variants', in the order to show.
      config: the resolved configuration, values that JSON knows.
      teacher: digest of the teacher's checkpoint; empty: it has none.
    """
    versions = package_versions()
    results = Results(tuple(rows), fingerprint(config, versions, teacher), versions, config, teacher)
    write_json(path, vars(results) | {"rows": [row.to_json() for row in rows]})
    return results


def read_results(path: Path | str) -> Results:
    """Reads and checks a results.json; raises ConfigError, one line that names the file, if it is not one."""
    stored = {"teacher_checkpoint": ""} | read_json(path)  # earlier versions had none
    try:
        _check_keys(str(path), stored, tuple(field.name for field in dataclasses.fields(Results)))
        if not isinstance(stored["rows"], list) or not all(isinstance(row, dict) for row in stored["rows"]):
            raise ValueError("rows must be a list of objects")
        rows = tuple(ResultRow.from_json(row) for row in stored["rows"])
    except ValueError as error:
        raise ConfigError(f"{path} holds no results: {error}") from error
    return Results(rows, *(stored[field.name] for field in dataclasses.fields(Results)[1:]))


def _git(*arguments: str, cwd: Path) -> str | None:
    """What git prints; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _attribute(key: str) -> str:
    return "episode_return" if key == "return" else key


def _require(holds: object, name: str, row: ResultRow, right: str) -> None:
    if not holds:
        raise ValueError(f"{name}={getattr(row, name)!r} cannot be a result: it must be {right}")


def _check_keys(where: str, found: Mapping[str, Any], expected: Sequence[str]) -> None:
    missing, unknown = [k for k in expected if k not in found], [k for k in found if k not in expected]
    if missing or unknown:
        raise ValueError(f"{where} has missing keys {missing} and unknown keys {unknown}")
