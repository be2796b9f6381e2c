"""Memory that is not a framework's own, shown to frameworks by DLPack (its structures, as of version 0.8)."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

CPU, CUDA = 1, 2  # DLDeviceType
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLDataTypeCode by numpy's kind


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_ManagedTensor))
_ManagedTensor._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))
_lent: dict[int, tuple[Any, ...]] = {}  # address of a managed tensor -> what must live until it is deleted


@_Deleter
def _delete(managed: Any) -> None:
    _lent.pop(ctypes.addressof(managed.contents), None)


def _c_api(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C API with a prototype of our own: those of `ctypes.pythonapi`'s attributes are shared,
    and others (`jax.ffi.pycapsule`) set them too."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_new_capsule = _c_api("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_capsule_pointer = _c_api("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
# Of a capsule that dies. It has no references any more: as a Python object it must not be touched.
_is_untaken = _c_api("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_address_in = _c_api("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _forget(capsule: Any) -> None:
    if _is_untaken(capsule, b"dltensor"):  # who takes one renames it, and calls the deleter
        _lent.pop(_address_in(capsule, b"dltensor"), None)


class ForeignArray:
    """A dense array at an address, for `from_dlpack` of JAX, torch or numpy.

    Args:
      pointer: address of the first element.
      shape: of the array.
      dtype: name of a numpy dtype: bool, integer or float.
      device: (DLDeviceType, number).
      owner: is kept for as long as any framework holds a view.
    """

    def __init__(self, pointer: int, shape: Sequence[int], dtype: str, device: tuple[int, int], owner: Any = None):
        self._dtype = np.dtype(dtype)
        if self._dtype.kind not in _CODES:
            raise ValueError(f"dtype must be bool, integer or float, got {dtype!r}")
        self.shape = tuple(int(size) for size in shape)
        self._pointer, self._device, self._owner = pointer, device, owner

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self._dtype.itemsize

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: Any = None, **unused: Any) -> Any:
        """A capsule; who writes the memory must have synchronised, whatever the `stream`."""
        managed = _ManagedTensor()
        sizes = (ctypes.c_int64 * len(self.shape))(*self.shape)
        dtype = _DataType(_CODES[self._dtype.kind], self._dtype.itemsize * 8, 1)
        managed.tensor = _Tensor(self._pointer, _Device(*self._device), len(self.shape), dtype, sizes, None, 0)
        managed.deleter = _delete
        address = ctypes.addressof(managed)
        _lent[address] = (managed, sizes, self._owner)
        return _new_capsule(address, b"dltensor", ctypes.cast(_forget, ctypes.c_void_p))


class Borrowed:
    """The memory of a framework's array, seen through DLPack and kept for as long as this object.

    Args:
      array: a dense array of bool, integers or floats that is ready: who wrote it must have synchronised.

    Raises:
      ValueError: it is not dense, or of another kind.
    """

    def __init__(self, array: Any):
        self._capsule = array.__dlpack__()  # its destructor gives the memory back
        tensor = _ManagedTensor.from_address(_capsule_pointer(self._capsule, b"dltensor")).tensor
        self.shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
        kinds = {code: kind for kind, code in _CODES.items()}
        if tensor.dtype.code not in kinds or tensor.dtype.lanes != 1:
            raise ValueError(f"dtype must be bool, integer or float, got DLPack's code {tensor.dtype.code}")
        self.dtype = np.dtype(f"{kinds[tensor.dtype.code]}{tensor.dtype.bits // 8}").name
        self.device = (tensor.device.type, tensor.device.id)
        self.pointer = (tensor.data or 0) + tensor.byte_offset
        dense = 1
        for axis in reversed(range(tensor.ndim)):
            if tensor.strides and self.shape[axis] > 1 and tensor.strides[axis] != dense:
                raise ValueError(f"array of shape {self.shape} must be dense, in C order")
            dense *= self.shape[axis]
