"""Which directories hold something to see, and which of their files may be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rpd_jax.config.validation import ConfigError, require
from rpd_jax.report.results import COMPARISON_FILE, RESULTS_FILE
from rpd_jax.runs.checkpoint import CHECKPOINT_DIRECTORY, CONFIG_FILE
from rpd_jax.runs.metrics import METRICS_FILE, TENSORBOARD_DIRECTORY, WANDB_DIRECTORY

DEPTH = 5  # of directories below one that is named
MOST = 100  # runs and comparisons on a page
LARGEST, LARGEST_STREAM = 64 << 20, 2 << 30  # bytes of a file that is parsed as a whole, or read piece by piece
_NOT_ENTERED = (CHECKPOINT_DIRECTORY, TENSORBOARD_DIRECTORY, WANDB_DIRECTORY)


class Place(NamedTuple):
    """A directory with something to see."""

    name: str  # on the page: its path, without what those of its kind have in common
    path: Path
    is_comparison: bool


def find(paths: Sequence[Path | str]) -> tuple[list[Place], int]:
    """Runs and then comparisons at `paths` and below, by their names; the newest `MOST`, and how many more there are.

    Symbolic links below `paths` are not followed, and what lies in a comparison's directory is part of it.

    Raises:
      ConfigError: a path is no directory, or there is nothing to see in any.
    """
    found: dict[Path, bool] = {}
    for path in map(Path, paths):
        require(path.is_dir(), "directory", str(path), "a directory with runs or comparisons, or one of them")
        found |= dict(_below(path, DEPTH))
    if not found:
        asked = ", ".join(map(str, paths))
        raise ConfigError(f"nothing to see in {asked}: neither runs nor comparisons; train writes to runs/ by default")
    newest = sorted(found, key=lambda path: path.stat().st_mtime)[-MOST:]
    places = [
        Place(name, path, is_comparison)
        for is_comparison in (False, True)
        for name, path in _named([path for path in newest if found[path] == is_comparison])
    ]
    return places, len(found) - len(newest)


def inside(directory: Path, name: str, largest: int = LARGEST) -> Path | None:
    """A file of a directory; None where there is none.

    Raises:
      ConfigError: it leads out of the directory, is no regular file, or is too large.
    """
    path = directory / name
    if not os.path.lexists(path):
        return None
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(directory)):
        raise ConfigError(f"{name} is left alone: it is a symbolic link that leads out of its directory")
    try:
        status = real.stat()
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{name} is left alone: it is no regular file")
    if status.st_size > largest:
        raise ConfigError(f"{name} is left alone: it has {status.st_size:,} bytes, more than {largest:,}")
    return path


def _named(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    whole = [path.absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in whole]) if whole else ""
    return sorted((str(each.relative_to(common)), path) for each, path in zip(whole, paths, strict=True))


def _below(path: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    names = set()
    directories = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                else:
                    names.add(entry.name)
    except OSError:
        return
    if COMPARISON_FILE in names:
        yield path, True
        return
    if names & {CONFIG_FILE, METRICS_FILE, RESULTS_FILE}:
        yield path, False
    if depth > 0:
        for name in sorted(directories):
            if not name.startswith((".", "set_aside.")) and name not in _NOT_ENTERED:
                yield from _below(path / name, depth - 1)
