"""Arrays in GPU memory that two processes share: one allocates and exports a handle, the other opens it.

Only the driver (libcuda) is called, through ctypes: neither side needs a CUDA package, nor the other's framework. Both
see the arrays through DLPack: `jax.dlpack.from_dlpack(memory.array(...))`, `torch.from_dlpack(memory.array(...))`.
Frameworks do not know of the other process: call `synchronize` on the writing side, then send a message. JAX takes its
arrays to be constant: copy what it is to keep before the other side writes again.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

from rpd_jax.ipc.dlpack import CUDA, ForeignArray

HANDLE_BYTES = 64
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class CudaError(RuntimeError):
    """A call of the CUDA driver failed."""


class _Handle(ctypes.Structure):
    _fields_ = (("reserved", ctypes.c_ubyte * HANDLE_BYTES),)


class CudaMemory:
    """One piece of GPU memory, allocated here (`create`) or by another process (`open`)."""

    def __init__(self, driver: Any, device: int, pointer: int, nbytes: int, own: bool):
        self.driver, self._device, self._own = driver, device, own
        self.pointer, self.nbytes = pointer, nbytes
        # Of our own: to wait for it is to wait for nobody else, and a framework may be recording a graph meanwhile.
        self._stream = ctypes.c_void_p()
        try:
            with _context(driver, device):
                _check(driver, "cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(_NON_BLOCKING))
        except CudaError:
            self.close()
            raise

    @classmethod
    def create(cls, nbytes: int, device: int = 0, driver: Any = None) -> CudaMemory:
        """Allocates memory on a device (its number in this process).

        Raises:
          CudaError: no driver, no such device, or not enough memory.
        """
        driver = driver or load_driver()
        pointer = ctypes.c_uint64()
        with _context(driver, device):
            _check(driver, "cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
            _keep_context(driver, device)
        return cls(driver, device, pointer.value, nbytes, own=True)

    @classmethod
    def open(cls, handle: bytes, nbytes: int, device: int = 0, driver: Any = None) -> CudaMemory:
        """Maps memory of another process, which must keep it until this one has called `close`.

        Args:
          handle: what `handle()` gave there; it fits into a message.
          nbytes: of the memory.
          device: the number, in this process, of the device that it is on.
          driver: for tests.

        Raises:
          CudaError: the handle is stale, of this same process, or of another device.
        """
        if len(handle) != HANDLE_BYTES:
            raise ValueError(f"handle: need {HANDLE_BYTES} bytes, got {len(handle)}")
        driver = driver or load_driver()
        pointer, own_handle = ctypes.c_uint64(), _Handle.from_buffer_copy(handle)
        lazy_peer_access = ctypes.c_uint(1)
        with _context(driver, device):
            _check(driver, "cuIpcOpenMemHandle_v2", ctypes.byref(pointer), own_handle, lazy_peer_access)
            _keep_context(driver, device)
        return cls(driver, device, pointer.value, nbytes, own=False)

    def handle(self) -> bytes:
        """What another process opens."""
        handle = _Handle()
        with _context(self.driver, self._device):
            _check(self.driver, "cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(self.pointer))
        return bytes(handle)

    def array(self, shape: Sequence[int], dtype: str, offset: int = 0) -> ForeignArray:
        """A view for `from_dlpack`; it keeps this object, but not against `close`."""
        view = ForeignArray(self.pointer + offset, shape, dtype, (CUDA, self._device), owner=self)
        if offset < 0 or offset + view.nbytes > self.nbytes:
            raise ValueError(f"array: {view.nbytes} bytes at {offset} exceed the memory of {self.nbytes} bytes")
        return view

    def clear(self) -> None:
        """Sets every byte to 0."""
        with _context(self.driver, self._device):
            arguments = (ctypes.c_uint64(self.pointer), ctypes.c_ubyte(0), ctypes.c_size_t(self.nbytes), self._stream)
            _check(self.driver, "cuMemsetD8Async", *arguments)
            _check(self.driver, "cuStreamSynchronize", self._stream)

    def write(self, offset: int, source: int, nbytes: int, *, on_host: bool) -> None:
        """Copies bytes from an address, of this process's own memory or of the device's, to `offset`, and waits.

        What lies on the device must be ready.
        """
        name = "cuMemcpyHtoDAsync_v2" if on_host else "cuMemcpyDtoDAsync_v2"
        self._copy(name, self.pointer + offset, source, offset, nbytes)

    def read(self, offset: int, target: int, nbytes: int) -> None:
        """Copies bytes at `offset` to an address of this process's own memory."""
        self._copy("cuMemcpyDtoHAsync_v2", target, self.pointer + offset, offset, nbytes)

    def _copy(self, name: str, target: int, source: int, offset: int, nbytes: int) -> None:
        if offset < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"copy: {nbytes} bytes at {offset} exceed the memory of {self.nbytes} bytes")
        with _context(self.driver, self._device):
            places = (ctypes.c_uint64(target), ctypes.c_uint64(source), ctypes.c_size_t(nbytes))
            _check(self.driver, name, *places, self._stream)
            _check(self.driver, "cuStreamSynchronize", self._stream)

    def synchronize(self) -> None:
        """Waits for everything that this process has had the device do."""
        with _context(self.driver, self._device):
            _check(self.driver, "cuCtxSynchronize")

    def close(self) -> None:
        """Frees or unmaps the memory: no view may be used after that. Idempotent."""
        pointer, self.pointer = self.pointer, 0  # even where giving it back fails, nobody tries again
        if pointer:
            name = "cuMemFree_v2" if self._own else "cuIpcCloseMemHandle"
            with _context(self.driver, self._device):
                if self._stream:
                    self.driver.cuStreamDestroy_v2(self._stream)  # should it fail, the memory matters more
                _check(self.driver, name, ctypes.c_uint64(pointer))
            _check(self.driver, "cuDevicePrimaryCtxRelease_v2", ctypes.c_int(self._device))


def gpu_uuid(number: int, driver: Any = None) -> str:
    """What names a GPU in every process, from its number in this one: 32 hexadecimal digits.

    Raises:
      CudaError: no driver, or no such device.
    """
    driver = driver or load_driver()
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    _check(driver, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(number))
    _check(driver, "cuDeviceGetUuid_v2", ctypes.byref(uuid), device)
    return bytes(uuid).hex()


def gpu_number(uuid: str, driver: Any = None) -> int:
    """The inverse of `gpu_uuid`. Raises CudaError where this process does not see the GPU."""
    driver = driver or load_driver()
    count = ctypes.c_int()
    _check(driver, "cuDeviceGetCount", ctypes.byref(count))
    seen = [gpu_uuid(number, driver) for number in range(count.value)]
    if uuid not in seen:
        raise CudaError(f"this process does not see the GPU {uuid}, only {seen}: is CUDA_VISIBLE_DEVICES another?")
    return seen.index(uuid)


def load_driver() -> Any:
    """The CUDA driver. Raises CudaError where there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError(f"no CUDA driver: {error}") from None
    _check(driver, "cuInit", ctypes.c_uint(0))
    return driver


@contextlib.contextmanager
def _context(driver: Any, device: int) -> Iterator[None]:
    """The device's primary context, which JAX and torch use too, is current in the block."""
    context = ctypes.c_void_p()
    _check(driver, "cuDevicePrimaryCtxRetain", ctypes.byref(context), ctypes.c_int(device))
    try:
        _check(driver, "cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            _check(driver, "cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
    finally:
        _check(driver, "cuDevicePrimaryCtxRelease_v2", ctypes.c_int(device))


def _keep_context(driver: Any, device: int) -> None:
    """Until the memory is closed: without a user the context would go, and the memory with it."""
    _check(driver, "cuDevicePrimaryCtxRetain", ctypes.byref(ctypes.c_void_p()), ctypes.c_int(device))


def _check(driver: Any, name: str, *arguments: Any) -> None:
    status = getattr(driver, name)(*arguments)
    if status != 0:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        raise CudaError(f"{name}: error {status}, {(text.value or b'unknown').decode()}")
