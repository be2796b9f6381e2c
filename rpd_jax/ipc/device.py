"""Named arrays in one piece of memory that two processes share, on the CPU or on a GPU, with one interface.

Frameworks see them without a copy: `torch.from_dlpack(arrays.view("x"))`, `jax.dlpack.from_dlpack(arrays.view("x"))`.
They know nothing of the other process: whoever wrote calls `synchronize`, then sends a message. JAX takes its arrays to
be constant: copy (on the device) what it is to keep before the other side writes again. JAX has 64-bit types only where
they are enabled; otherwise it copies such arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.ipc.arrays import ArrayEntry, SharedArrays, check_entries, entries_of, lay_out, rows_of
from rpd_jax.ipc.cuda import CudaMemory, gpu_number, gpu_uuid
from rpd_jax.ipc.dlpack import CPU, CUDA, Borrowed, ForeignArray

_BLOCK = 2 << 20  # bytes: of smaller pieces the driver would share the whole block that they lie in


class Part(NamedTuple):
    """The first `rows` rows of one entry of an array's first axis: `array[index, :rows]`."""

    index: int  # type: ignore[assignment]  # takes the place of tuple.index
    rows: int


class DeviceArrays:
    """A fixed set of named arrays; make it with `create`, and with `attach` in the other process.

    The side that created memory of a GPU must outlive the other's use of it.
    """

    def __init__(self, device: str, entries: Sequence[ArrayEntry], memory: SharedArrays | CudaMemory):
        self.device = device
        self._entries = {entry.name: entry for entry in entries}
        self._memory = memory
        self._closed = False

    @classmethod
    def create(
        cls,
        specs: Mapping[str, tuple[Sequence[int], str]],
        device: str = "cpu",
        *,
        descriptor: int | None = None,
        driver: Any = None,
    ) -> DeviceArrays:
        """Lays out zeroed arrays.

        Args:
          specs: name -> (shape, dtype name).
          device: "cpu" or "cuda:N", N being its number in this process.
          descriptor: for "cpu", empty memory from `arrays.memory_descriptor`, owned by this object from now on; None
            makes a new one. The other process must have inherited it, or been sent it.
          driver: for tests.

        Raises:
          ValueError: a device of another name; see also `SharedArrays.create`.
          OSError: there is not so much memory.
          CudaError: no driver, no such device, or not enough of its memory.
        """
        number = cuda_number(device)
        if number is None:
            memory = SharedArrays.create(specs, descriptor)
            return cls(device, entries_of(memory.table()), memory)
        if descriptor is not None:
            raise ValueError(f"descriptor: is for device 'cpu', got one for {device!r}")
        entries, nbytes = lay_out(specs)
        gpu_memory = CudaMemory.create(-(-nbytes // _BLOCK) * _BLOCK, number, driver)
        try:
            gpu_memory.clear()
        except BaseException:
            gpu_memory.close()
            raise
        return cls(device, entries, gpu_memory)

    @classmethod
    def attach(cls, shared: Mapping[str, Any], driver: Any = None) -> DeviceArrays:
        """Maps the arrays of another process.

        Args:
          shared: what `share()` gave there, perhaps through a message.
          driver: for tests.

        Raises:
          ValueError: a field is missing, or an entry is malformed or lies outside the memory.
          CudaError: the handle is stale, or of a GPU that this process does not see.
        """
        for field in ("device", "table", "memory"):
            if field not in shared:
                raise ValueError(f"shared arrays: field {field!r} is missing, got {sorted(shared)}")
        device, entries = shared["device"], entries_of(shared["table"])
        if cuda_number(device) is None:
            return cls(device, entries, SharedArrays.attach(shared["memory"], shared["table"]))
        nbytes = shared.get("nbytes", 0)
        check_entries(entries, nbytes)
        number = gpu_number(shared.get("gpu", ""), driver)  # processes may number GPUs differently
        return cls(f"cuda:{number}", entries, CudaMemory.open(shared["memory"], nbytes, number, driver))

    def table(self) -> list[list[Any]]:
        """The layout, of plain types that fit into a message: rows of name, shape, dtype, offset in bytes."""
        return rows_of(list(self._entries.values()))

    def share(self) -> dict[str, Any]:
        """What the other process attaches: plain data; on the CPU "memory" is the number of a descriptor."""
        memory = self._open_memory()
        if isinstance(memory, SharedArrays):
            return {"device": self.device, "table": self.table(), "memory": memory.descriptor}
        number, driver = cuda_number(self.device), memory.driver
        assert number is not None
        fields = {"device": self.device, "gpu": gpu_uuid(number, driver), "table": self.table()}
        return {**fields, "memory": memory.handle(), "nbytes": memory.nbytes}

    def view(self, name: str, part: Part | None = None) -> ForeignArray:
        """An array, or a part of it, for `from_dlpack`. Not to be used after `close`, but for one on the CPU.

        Raises:
          ValueError: no array has this name, or no such part, or the arrays are closed.
        """
        memory = self._open_memory()
        if isinstance(memory, SharedArrays):
            array = self._on_host(memory, name, part)
            return ForeignArray(array.ctypes.data, array.shape, array.dtype.name, (CPU, 0), owner=array)
        entry = self._entry(name, part)
        return memory.array(entry.shape, entry.dtype, entry.offset)

    def write(self, name: str, values: Any, part: Part | None = None) -> None:
        """Copies values of the array's shape and dtype into it; those of the same GPU do not pass through the host.

        Args:
          name: of the array.
          values: numpy's, or a framework's with `__dlpack__` that is ready (`block_until_ready`).
          part: which part the values are; None: the whole.

        Raises:
          ValueError: another shape, dtype or GPU.
        """
        memory = self._open_memory()
        if isinstance(memory, SharedArrays):
            target, values = self._on_host(memory, name, part), np.asarray(values)
            if values.shape != target.shape or values.dtype != target.dtype:
                raise _does_not_fit(name, target.shape, target.dtype, values.shape, values.dtype)
            target[...] = values
            return
        entry = self._entry(name, part)
        place = getattr(values, "__dlpack_device__", lambda: (CPU, 0))()
        if place[0] == CUDA:
            source = Borrowed(values)
            if source.device != (CUDA, cuda_number(self.device)):
                raise ValueError(f"write: {name!r} is on {self.device}, the values are on cuda:{source.device[1]}")
            _check_fits(entry, source.shape, source.dtype)
            memory.write(entry.offset, source.pointer, entry.nbytes, on_host=False)
            return
        values = np.asarray(values)
        _check_fits(entry, values.shape, values.dtype.name)
        values = np.ascontiguousarray(values)
        memory.write(entry.offset, values.ctypes.data, entry.nbytes, on_host=True)

    def read(self, name: str, part: Part | None = None) -> np.ndarray:
        """A copy on the host."""
        values = self.on_host(name, part)
        return values if isinstance(self._memory, CudaMemory) else values.copy()

    def on_host(self, name: str, part: Part | None = None) -> np.ndarray:
        """A view of memory on the host, but of a GPU's a copy."""
        memory = self._open_memory()
        if isinstance(memory, SharedArrays):
            return self._on_host(memory, name, part)
        entry = self._entry(name, part)
        values = np.empty(entry.shape, entry.dtype)
        memory.read(entry.offset, values.ctypes.data, entry.nbytes)
        return values

    def synchronize(self) -> None:
        """Waits for everything that this process has had the device do."""
        memory = self._open_memory()
        if isinstance(memory, CudaMemory):
            memory.synchronize()

    def close(self) -> None:
        """Gives the memory back; on a GPU, drop every framework's view before this. Idempotent."""
        self._closed = True
        self._memory.close()

    def _open_memory(self) -> SharedArrays | CudaMemory:
        if self._closed:
            raise ValueError("the arrays are closed")
        return self._memory

    def _entry(self, name: str, part: Part | None) -> ArrayEntry:
        """Where an array lies, or a part of it."""
        entry = self._checked(name, part)
        if part is None:
            return entry
        offset = entry.offset + part.index * (entry.nbytes // entry.shape[0])
        return ArrayEntry(name, (part.rows, *entry.shape[2:]), entry.dtype, offset)

    def _on_host(self, memory: SharedArrays, name: str, part: Part | None) -> np.ndarray:
        """An array, or a part of it."""
        self._checked(name, part)
        return memory[name] if part is None else memory[name][part.index, : part.rows]

    def _checked(self, name: str, part: Part | None) -> ArrayEntry:
        """Where the whole array lies, if it has the part."""
        entry = self._entries.get(name)
        if entry is None:
            raise ValueError(f"array {name!r}: unknown, there are {sorted(self._entries)}")
        if part is None:
            return entry
        index, rows = part
        if len(entry.shape) < 2 or not (0 <= index < entry.shape[0] and 0 <= rows <= entry.shape[1]):
            raise ValueError(f"array {name!r} of shape {entry.shape} has no part [{index}, :{rows}]")
        return entry


def cuda_number(device: str) -> int | None:
    """The number of a GPU, None for "cpu". Raises ValueError for another name."""
    kind, _, number = str(device).partition(":")
    if device == "cpu":
        return None
    if kind == "cuda" and number.isdecimal():
        return int(number)
    raise ValueError(f"device: need 'cpu' or 'cuda:N', got {device!r}")


def _check_fits(entry: ArrayEntry, shape: tuple[int, ...], dtype: str) -> None:
    if shape != entry.shape or dtype != entry.dtype:
        raise _does_not_fit(entry.name, entry.shape, entry.dtype, shape, dtype)


def _does_not_fit(
    name: str, shape: tuple[int, ...], dtype: Any, found: tuple[int, ...], found_dtype: Any
) -> ValueError:
    return ValueError(f"array {name!r}: need {dtype} of shape {shape}, got {found_dtype} of {found}")
