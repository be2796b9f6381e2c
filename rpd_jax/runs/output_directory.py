"""Directories that programs write to: claimed by one process, resumed or overwritten only on request. Needs no jax.

What is deleted is what programs of ours write, by name, in a directory that is provably ours. Anything else stays.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import logging

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.files import original_name, read_json, temporary_beside
from rpd_jax.runs.lock import LOCK_FILE, DirectoryLock

NUMBER = "<number>"
"""Among the entries of a kind: any directory or file whose name is a decimal number."""
_NEUTRAL = re.compile(rf"{re.escape(LOCK_FILE)}|set_aside\.\d+|\.nfs\w+")  # the last: of removed files, on NFS


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of directory that programs of ours write.

    Attributes:
      field: what the directory is called in messages.
      what: what it is, with an article.
      file: name of the JSON file that every one of this kind has.
      keys: some of that file's keys, enough to tell it from other programs'.
      entries: everything else that is written there, by name.
      leftovers: glob patterns of what shows, where the file is missing, that an interrupted program of ours was there.
    """

    field: str
    what: str
    file: str
    keys: frozenset[str]
    entries: tuple[str, ...]
    leftovers: tuple[str, ...] = ()

    def is_in(self, path: Path) -> bool:
        """Whether a directory is one of this kind, judged by what its file holds."""
        try:
            return self.keys <= read_json(path / self.file).keys()
        except ConfigError:
            return False

    def writes(self, name: str) -> bool:
        """Whether an entry of this name is one of ours."""
        return name == self.file or name in self.entries or (name.isdecimal() and NUMBER in self.entries)

    def is_temporary(self, name: str) -> bool:
        """Whether this is what an interrupted program left of one of our entries."""
        original = original_name(name)
        return original is not None and self.writes(original)

    def content(self, path: Path) -> list[str]:
        """Names in a directory, if there is one, without the lock, what was set aside, and temporaries of ours."""
        names = os.listdir(path) if path.is_dir() else []
        return sorted(name for name in names if not _NEUTRAL.fullmatch(name) and not self.is_temporary(name))


def check_path(path: Path, kind: Kind, resume: bool | int | None, overwrite: bool) -> bool:
    """Whether `path` holds a run that is to be resumed; raises ConfigError where it must not be written to.

    A directory that holds nothing but what an interrupted program left counts as empty. It touches nothing.

    Args:
      path: the directory.
      kind: what is to be written.
      resume: whether a run there may be gone on with; None for kinds that never are.
      overwrite: whether a run there may be deleted.
    """
    if resume and overwrite:
        raise ConfigError("resume=True and overwrite=True contradict each other: choose one")
    _check_usable(path, kind)
    file = path / kind.file
    if file.is_file() and resume:
        return True
    if os.path.lexists(file) and not file.is_file():
        raise ConfigError(f"{_name(path, kind)} is not {kind.what}: its {kind.file} is no file")
    content = kind.content(path)
    if not content:
        return False
    foreign = [name for name in content if not kind.writes(name)]
    ours = not foreign and any(any(path.glob(pattern)) for pattern in kind.leftovers)
    if not overwrite and not (resume and ours):
        arguments = "overwrite=True" if resume is None else "resume=True, overwrite=True"
        raise ConfigError(f"{_name(path, kind)} exists and is not empty: use {arguments} or another path")
    if overwrite:
        refusal = f"{_name(path, kind)} will not be overwritten"
        if path.is_symlink():
            raise ConfigError(f"{refusal}: it is a symbolic link to {os.path.realpath(path)!r}; name that instead")
        if file.is_file() and not kind.is_in(path):
            raise ConfigError(f"{refusal}: it is not {kind.what} (its {kind.file} is of another program, or damaged)")
        if not file.is_file() and not ours:
            held = (foreign or content)[0]
            raise ConfigError(f"{refusal}: it is not {kind.what} (it has no {kind.file}, and holds {held!r})")
    return False


class Claim:
    """A directory that nothing else of ours writes to until `close`, or until this process ends.

    It is a context manager of the directory's path. The directory is made if there is none, and goes again if nothing
    was written to it. Temporary files that interrupted programs left there are removed.

    Args:
      path: the directory.
      kind: what is to be written.
      check: raises ConfigError where the directory must not be written to, without touching it: `check_path`, perhaps
        with more. It is called before the directory is locked, and again when nothing changes any more.

    Raises:
      ConfigError: as `check`, or another process has claimed the directory; it is named.
    """

    def __init__(self, path: Path, kind: Kind, check: Callable[[], object]) -> None:
        check()
        self.path, self._kind = path, kind
        self._made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{_name(path, kind)} cannot be made: {error.strerror}") from error
        self._lock = DirectoryLock(path, kind.field, kind.what)
        try:
            check()
            for name in os.listdir(path):
                if kind.is_temporary(name):
                    remove(path / name)
        except BaseException:
            self.close()
            raise

    def clear(self) -> None:
        """Makes room: what was written there is deleted; without the file that proves it ours, it is set aside.

        The file goes last, so that after a kill in the middle the rest is still known to be ours.
        """
        content = self._kind.content(self.path)
        ours = [name for name in content if self._kind.writes(name)]
        foreign = [name for name in content if name not in ours]
        if foreign:
            logging.warning("%s: left as they are, since no program of ours wrote them: %s", self.path, foreign)
        if not ours:
            return
        if not self._kind.is_in(self.path):
            place = set_aside(self.path, ours)
            logging.warning("%s held %s without its %s: moved to %s", self.path, ours, self._kind.file, place)
            return
        for name in sorted(ours, key=lambda name: (name == self._kind.file, name)):
            remove(self.path / name)

    def close(self) -> None:
        """Frees the directory. Idempotent."""
        self._lock.close()
        if self._made and self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exc: object) -> None:
        self.close()


def remove(path: Path) -> None:
    """Deletes a file or directory, which vanishes at once under its name; of a symbolic link, the link alone."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    hidden = path if original_name(path.name) else path.rename(temporary_beside(path))
    shutil.rmtree(hidden)


def remove_temporaries(directory: Path) -> None:
    """Removes what interrupted programs left in a directory that is wholly ours."""
    if directory.is_dir():
        for path in list(directory.iterdir()):
            if original_name(path.name):
                remove(path)


def set_aside(directory: Path, names: Iterable[str]) -> Path:
    """Moves entries of a directory, paths relative to it, into its new subdirectory set_aside.N, which is returned."""
    number = 1
    while True:
        place = directory / f"set_aside.{number}"
        try:
            place.mkdir()
            break
        except FileExistsError:
            number += 1
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).rename(place / name)
    return place


def refuse_difference(before: object, now: object, directory: str) -> None:
    """Raises ConfigError for the first setting that a run to resume has otherwise; `directory` is its place's name."""
    difference = _first_difference(before, now, "")
    if difference:
        field, was, is_now = difference
        raise ConfigError(
            f"{field}={is_now!r} cannot work: the run to resume has {was!r}; start another with its own {directory}"
        )


def _first_difference(before: object, now: object, path: str) -> tuple[str, object, object] | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before:
            found = _first_difference(before[key], now.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if before == now else (path, before, now)


def _name(path: Path, kind: Kind) -> str:
    return f"{kind.field}={str(path)!r}"


def _check_usable(path: Path, kind: Kind) -> None:
    """Raises ConfigError where no directory can be made or written to."""
    if "\0" in str(path):
        raise ConfigError(f"{_name(path, kind)} cannot be made: it has a NUL character")
    try:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{_name(path, kind)} is a file: choose another path")
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"{_name(path, kind)} is a symbolic link to nothing: choose another path")
        nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    except OSError as error:
        raise ConfigError(f"{_name(path, kind)} cannot be made: {error.strerror}") from error
    if not nearest.is_dir():
        raise ConfigError(f"{_name(path, kind)} cannot be made: {str(nearest)!r} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"{_name(path, kind)} cannot be written to: {str(nearest)!r} does not permit it")
