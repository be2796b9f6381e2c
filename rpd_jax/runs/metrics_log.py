"""A run's metrics as JSON lines: what checkpoints refer to, and what a resumed run goes on with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.files import atomic_path
from rpd_jax.runs.output_directory import set_aside

METRICS_FILE = "metrics.jsonl"


class _Row(NamedTuple):
    """A line of the log."""

    step: int | None  # None where it is damaged
    start: int  # position
    end: int


class JsonlWriter:
    """One JSON object per line, `{"step": 6400, name: value, ...}`; NaN and infinities become null."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = self.path.open("ab")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        if "step" in metrics:
            raise ValueError('metrics has the name "step", which is taken: name the metric otherwise')
        row = {"step": int(step)} | {name: _finite_or_none(value) for name, value in metrics.items()}
        self._file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def position(self) -> int:
        """Bytes written so far: what a checkpoint stores for `truncate`."""
        return self._file.tell()

    def truncate(self, position: int, last_step: int | None = None) -> int:
        """Cuts the file to its first `position` bytes; returns the last step that is left, or -1.

        A file that is too short or damaged is set aside, with a warning, and what is intact of it is kept.

        Args:
          position: of a checkpoint.
          last_step: of the rows up to there, where the checkpoint says so; returned even if that row is lost.
        """
        rows = list(self._rows())
        kept = [each for each in rows if each.end <= position]
        whole = all(each.step is not None for each in kept) and (kept[-1].end if kept else 0) == position
        if whole:
            self._file.truncate(position)
            self._file.seek(position)
        else:
            kept = self._repair([each for each in rows if last_step is not None or each.end <= position], last_step)
        if last_step is not None:
            return last_step
        newest = kept[-1].step if kept else None
        return -1 if newest is None else newest

    def _repair(self, rows: Sequence[_Row], last_step: int | None) -> list[_Row]:
        """Puts a file of the intact rows up to a step in place of the damaged one; returns those rows."""
        kept: list[_Row] = []
        newest = -1
        for row in rows:
            if row.step is None or (last_step is not None and row.step > last_step):
                continue
            if row.step > newest:
                kept.append(row)
                newest = row.step
        content = self.path.read_bytes()
        self._file.close()
        place = f"moved to {set_aside(self.path.parent, [self.path.name])}" if content else "empty"
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(b"".join(content[row.start : row.end] for row in kept))
        self._file = self.path.open("ab")
        logging.warning("%s was missing, short or damaged (%s): %d rows are left", self.path, place, len(kept))
        return kept

    def _rows(self) -> Iterator[_Row]:
        """The lines; stops at one that a crash left unfinished."""
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                end += len(line)
                if not line.endswith(b"\n"):
                    return
                row = _parse_row(line)
                yield _Row(None if row is None else row["step"], end - len(line), end)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path | str) -> list[dict[str, float]]:
    """The rows of a JSON-lines log, without their steps; null becomes NaN again.

    A last line that is being written is left out. Raises ConfigError, one line that names the file, if it is missing
    or damaged.
    """
    return [row for _, row in read_rows(path)]


def read_rows(path: Path | str) -> Iterator[tuple[int, dict[str, float]]]:
    """As `read_metrics`, one after the other with their steps: those before a damaged line come before the error."""
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                row = _parse_row(line)
                if row is None:
                    raise ConfigError(f"{path} is damaged: line {number} is no row of metrics")
                step = row.pop("step")
                yield step, {name: math.nan if value is None else value for name, value in row.items()}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _parse_row(line: bytes) -> dict[str, Any] | None:
    """A row with its step; None where the line is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return row if all(value is None or type(value) in (int, float) for value in row.values()) else None


def _finite_or_none(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None
