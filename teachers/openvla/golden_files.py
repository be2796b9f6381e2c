"""Files of a golden directory of OpenVLA, and how the reduced ones in the repository are packed."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PACKED = "golden.tar.xz"


@contextlib.contextmanager
def unpacked(directory: Path) -> Iterator[Path]:
    """The directory itself, or a temporary one with the content of its archive.

    Raises ValueError if it has neither tiny/ nor an archive.
    """
    if (directory / "tiny").is_dir():
        yield directory
        return
    archive = directory / PACKED
    if not archive.is_file():
        raise ValueError(f"{directory} is no golden directory: it has neither tiny/ nor {PACKED}")
    with tempfile.TemporaryDirectory(prefix="openvla_golden_") as place:
        unpack(archive, Path(place))
        yield Path(place)


def unpack(archive: Path, place: Path) -> None:
    """Writes an archive's files below a directory; those that would lie elsewhere are refused."""
    with tarfile.open(archive, "r:xz") as files:
        files.extractall(place, filter="data")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an npz file, by name."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
