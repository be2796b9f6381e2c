"""Named numpy arrays in anonymous memory that several processes map.

The memory is a memfd: it has no name in any file system, other processes get it only by inheriting (or
being sent) its file descriptor, and the kernel frees it when the last of them ends, however it ends. A third
process can map the same arrays: hand it the same descriptor and the same table.
"""

from __future__ import annotations

import errno
import fcntl
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rpd_jax import runtime

ALIGNMENT = 64  # bytes: a cache line, and what XLA wants to take an array without copying it
_KINDS = "biuf"  # bool, signed, unsigned, float: nothing that holds pointers


class ArrayEntry(NamedTuple):
    """Where one array lies in the shared memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int  # bytes

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def memory_descriptor() -> int:
    """A descriptor of empty anonymous memory, for processes that start before the arrays' sizes are known."""
    return os.memfd_create("rpd_jax-arrays", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


class SharedArrays(Mapping[str, np.ndarray]):
    """A fixed set of named arrays in one piece of shared memory; both sides see numpy views of it.

    Nothing orders reads and writes of different processes: exchange a message in between.
    """

    def __init__(self, descriptor: int, table: Sequence[ArrayEntry]):
        size = os.fstat(descriptor).st_size
        check_entries(table, size)
        self._descriptor = descriptor
        self._entries = tuple(table)
        memory = mmap.mmap(descriptor, size)
        # The views keep the mapping alive, so closing can never pull memory from under somebody's array.
        self._arrays = {
            entry.name: np.frombuffer(
                memory, entry.dtype, count=entry.nbytes // np.dtype(entry.dtype).itemsize, offset=entry.offset
            ).reshape(entry.shape)
            for entry in table
        }

    @classmethod
    def create(cls, specs: Mapping[str, tuple[Sequence[int], str]], descriptor: int | None = None) -> SharedArrays:
        """Lays out zeroed arrays.

        Args:
          specs: name -> (shape, dtype name).
          descriptor: empty memory from `memory_descriptor`; None makes a new one.

        Raises:
          ValueError: a dtype that is not bool, integer or float, a negative size, or memory already in use.
          OSError: there is not so much memory.
        """
        table, end = lay_out(specs)
        if descriptor is not None and os.fstat(descriptor).st_size:
            raise ValueError(f"descriptor: memory must be empty, {descriptor} already has arrays")
        own = descriptor is None
        descriptor = memory_descriptor() if descriptor is None else descriptor
        try:
            _allocate(descriptor, end)
        except OSError as error:
            if own:
                os.close(descriptor)
            names = ", ".join(specs)
            raise OSError(
                error.errno, f"no shared memory for {end / 2**20:.1f} MiB of arrays ({names}): {error.strerror}"
            ) from None
        # With the size sealed no process can shrink the memory and crash the others.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        return cls(descriptor, table)

    @classmethod
    def attach(cls, descriptor: int, table: Sequence[Sequence[Any]]) -> SharedArrays:
        """Maps the arrays that another process laid out.

        Args:
          descriptor: the inherited descriptor, which this object owns from now on.
          table: what `table()` of the other side gave, perhaps through a message.

        Raises:
          ValueError: an entry that is malformed or lies outside the memory.
        """
        return cls(descriptor, entries_of(table))

    @property
    def descriptor(self) -> int:
        """The file descriptor to hand to another process; open until `close`."""
        return self._descriptor

    def table(self) -> list[list[Any]]:
        """The layout, of plain types that fit into a message."""
        return rows_of(self._entries)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def close(self) -> None:
        """Drops the views and the descriptor; memory goes when the last view anywhere is gone. Idempotent."""
        self._arrays = {}
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lay_out(specs: Mapping[str, tuple[Sequence[int], str]]) -> tuple[list[ArrayEntry], int]:
    """(where arrays of these names, shapes and dtypes lie, bytes of memory they need, at least ALIGNMENT).

    Raises:
      ValueError: no array, a dtype that is not bool, integer or float, or a negative size.
    """
    if not specs:
        raise ValueError("specs: at least one array is needed, got none")
    table: list[ArrayEntry] = []
    end = 0
    for name, (shape, dtype) in specs.items():
        entry = ArrayEntry(name, tuple(int(size) for size in shape), dtype, end)
        _check(entry, None)
        table.append(entry)
        end += -(-entry.nbytes // ALIGNMENT) * ALIGNMENT
    return table, max(end, ALIGNMENT)


def rows_of(entries: Sequence[ArrayEntry]) -> list[list[Any]]:
    """Entries as plain types, for a message."""
    return [[entry.name, list(entry.shape), entry.dtype, entry.offset] for entry in entries]


def entries_of(rows: Sequence[Sequence[Any]]) -> list[ArrayEntry]:
    """Inverse of `rows_of`. Raises ValueError for a malformed row."""
    entries = []
    for row in rows:
        try:
            name, shape, dtype, offset = row
            entry = ArrayEntry(str(name), tuple(int(size) for size in shape), str(dtype), int(offset))
        except (TypeError, ValueError) as error:
            raise ValueError(f"table: need rows (name, shape, dtype, offset), got {row!r}") from error
        entries.append(entry)
    return entries


def check_entries(entries: Sequence[ArrayEntry], size: int) -> None:
    """Raises ValueError unless entries have different names and lie within memory of `size` bytes."""
    for entry in entries:
        _check(entry, size)
    if len({entry.name for entry in entries}) != len(entries):
        raise ValueError(f"table: names must differ, got {[entry.name for entry in entries]}")


def _allocate(descriptor: int, size: int) -> None:
    """Gives the memory its size, and takes all of it now: later a lack of it would be a SIGBUS.

    Where the kernel promises more memory than there is, asking for too much ends in its killing some process: hence
    the look at what is available first.
    """
    if size > runtime.available_memory():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    os.ftruncate(descriptor, size)
    os.posix_fallocate(descriptor, 0, size)


def _check(entry: ArrayEntry, size: int | None) -> None:
    try:
        kind = np.dtype(entry.dtype).kind
    except TypeError as error:
        raise ValueError(f"array {entry.name!r}: unknown dtype {entry.dtype!r}") from error
    if kind not in _KINDS:
        raise ValueError(f"array {entry.name!r}: dtype must be bool, integer or float, got {entry.dtype!r}")
    if any(length < 0 for length in entry.shape):
        raise ValueError(f"array {entry.name!r}: shape must not be negative, got {entry.shape}")
    if entry.offset < 0 or entry.offset % ALIGNMENT:
        raise ValueError(f"array {entry.name!r}: offset must be a multiple of {ALIGNMENT}, got {entry.offset}")
    if size is not None and entry.offset + entry.nbytes > size:
        raise ValueError(
            f"array {entry.name!r}: {entry.nbytes} bytes at {entry.offset} exceed the memory of {size} bytes"
        )
