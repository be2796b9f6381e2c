"""Short digests of what a teacher was loaded from, by which a run knows it again. The standard library only.

Of files up to `WHOLE` bytes every byte counts. Of larger ones (weights) the size, the beginning, the end and blocks at
even distances count, so that 15 GB take a second: another training changes every block, but a change of a few bytes
between two blocks goes unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

WHOLE = 64 << 20
_BLOCK, _BLOCKS = 1 << 16, 256
_LENGTH = 16  # hexadecimal digits


def digest(*directories: Path, without: Collection[str] = ()) -> str:
    """The digest of the files of directories, by their names in there, sizes and contents.

    Where a directory lies and what it is called does not matter. Hidden files are left out.

    Args:
      directories: of one checkpoint.
      without: entries of the directories that are left out too.
    """
    found = hashlib.sha256()
    for number, directory in enumerate(directories):
        names = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
        for name in sorted(names, key=lambda name: name.parts):
            if not any(part.startswith(".") for part in name.parts) and name.parts[0] not in without:
                path = directory / name
                header = f"{number} {name.as_posix()!r} {path.stat().st_size}\n"
                found.update(header.encode() + _contents(path))
    return found.hexdigest()[:_LENGTH]


def digest_arrays(arrays: Mapping[str, Any]) -> str:
    """The digest of numpy arrays by their names, types, shapes and contents."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name!r} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return found.hexdigest()[:_LENGTH]


def _contents(path: Path) -> bytes:
    """The digest of a file's contents."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if size <= WHOLE:
            return hashlib.file_digest(file, "sha256").digest()
        found = hashlib.sha256()
        for block in range(_BLOCKS + 1):  # the last one ends with the file
            file.seek((size - _BLOCK) * block // _BLOCKS)
            found.update(file.read(_BLOCK))
        return found.digest()
