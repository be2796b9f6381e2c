"""A directory that only one process writes to: a lock that dies with its holder, and names it. Needs no jax."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import weakref
from io import FileIO
from pathlib import Path

from absl import logging

from rpd_jax.config.validation import ConfigError

LOCK_FILE = ".rpd_jax.lock"
_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class DirectoryLock:
    """An exclusive `flock` on a file in a directory, held until `close` or the end of the process.

    The file says as one JSON line who holds it: what, pid, host, started. Programs that this process starts do not
    inherit the lock.

    Args:
      directory: must exist.
      field: what the directory is called in messages.
      what: the holder does there.

    Raises:
      ConfigError: another process, or this one, holds the lock already (it is named), or the directory cannot be
        written to.
    """

    def __init__(self, directory: Path, field: str, what: str) -> None:
        self._path = directory / LOCK_FILE
        self._file = self._acquire(field, directory)
        _held.add(self._file)
        holder = {
            "what": what,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self._file.truncate(0)
        self._file.write(json.dumps(holder).encode() + b"\n")

    def close(self) -> None:
        """Frees the directory and removes the file. Idempotent."""
        if not self._file.closed:
            if _same_file(self._file, self._path):
                self._path.unlink(missing_ok=True)  # while the lock is held: see `_acquire`
            self._file.close()

    def _acquire(self, field: str, directory: Path) -> FileIO:
        while True:
            try:
                # Read-write, since NFS locks nothing else exclusively.
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                file = FileIO(os.open(self._path, flags, 0o644), "r+")
            except OSError as error:
                raise ConfigError(f"{field}={str(directory)!r} cannot be written to: {error.strerror}") from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with file:
                    raise ConfigError(_refusal(field, directory, file.read(4096))) from None
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    file.close()
                    raise
                logging.warning("%s cannot be locked here (%s): nothing else may write to it", directory, error)
                return file
            if _same_file(file, self._path):
                return file
            file.close()  # its last holder removed it between our opening and locking it


def _same_file(file: FileIO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _refusal(field: str, directory: Path, content: bytes) -> str:
    try:
        found = json.loads(content)
        holder = f"process {found['pid']} on host {found['host']} since {found['started']}"
    except (ValueError, TypeError, KeyError):  # it was locked just now
        holder = "another process"
    return f"{field}={str(directory)!r} is in use by {holder}: wait for it, or choose another directory"


_held: weakref.WeakSet[FileIO] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked child shares the parent's open files, and would keep its locks alive."""
    for file in list(_held):
        file.close()


os.register_at_fork(after_in_child=_forget_in_child)
