"""Functions of the host inside compiled programs: NumPy in, NumPy out, and the program can be kept on disk.

`jax.pure_callback` writes a Python object's address into the program, so that no other process can use what was
compiled. Here the program holds a name and a key. XLA's foreign function interface calls a C function, which ctypes
makes of a Python function: no compiled code of our own. The structures below are what that function reads of XLA's call
frame; they are written from the facts of `xla/ffi/api/c_api.h` (its major version 0) in `jax.ffi.include_dir()`.

    def double(arguments, results):
        results[0][...] = 2 * arguments[0]

    host_call(double, jax.ShapeDtypeStruct(x.shape, x.dtype), x, key="double")

Every device of a program calls from its own thread, so that several calls can run at once. A function must not use JAX.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from rpd_jax.types import Array

HostFunction = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], None]
"""(arguments, results): reads the former, which are read-only, fills the latter, and keeps neither."""

TARGET = "rpd_jax_host_call"
MAJOR = 0  # of the interface; minor versions only add to it
METADATA, INTERNAL = 1, 13  # a kind of extension; an error code

_functions: dict[str, HostFunction] = {}


def host_call(function: HostFunction, results: Any, *arrays: Array, key: str) -> Any:
    """Calls a pure function of the host from traced code; under `vmap` once, with all leading axes in front.

    On the CPU without copies. Elsewhere, or if XLA's interface is another than ours, by `jax.pure_callback`.

    Args:
      function: sees arrays [*B, ...], where B are the axes of the vmaps around the call.
      results: a pytree of `jax.ShapeDtypeStruct`, without B; the function sees its leaves.
      arrays: the arguments.
      key: says which function this is, also to other processes: equal keys must mean equal functions.

    Returns:
      Arrays as `results` says. An exception of the function ends the program with `jax.errors.JaxRuntimeError`.
    """
    leaves, tree = jax.tree.flatten(results)
    if jax.default_backend() == "cpu" and _registered(TARGET):
        _functions.setdefault(key, function)
        call = jax.ffi.ffi_call(TARGET, leaves, vmap_method="broadcast_all")
        return jax.tree.unflatten(tree, call(*arrays, key=key))

    def allocate(*arguments: Array) -> list[np.ndarray]:
        batch = arguments[0].shape[: arguments[0].ndim - arrays[0].ndim]
        found = [np.empty((*batch, *leaf.shape), leaf.dtype) for leaf in leaves]
        function([np.asarray(x) for x in arguments], found)
        return found

    return jax.tree.unflatten(tree, jax.pure_callback(allocate, leaves, *arrays, vmap_method="broadcast_all"))


class _Extended(ctypes.Structure):
    _fields_: ClassVar[Any] = (("size", ctypes.c_size_t), ("extension", ctypes.c_void_p))  # as most begin


class _Version(_Extended):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int))


class _ErrorArguments(_Extended):
    _fields_ = (("message", ctypes.c_char_p), ("code", ctypes.c_int))  # XLA copies the message


class _Api(_Extended):
    _fields_ = (
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("make_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))),
    )  # more follow


class _Metadata(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32))


class _Extension(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("kind", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),  # only where kind is METADATA
    )


class _Buffer(_Extended):
    _fields_ = (
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class _Span(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Buffers(_Extended):
    """Of arguments and of results alike."""

    _fields_ = (
        ("count", ctypes.c_int64),
        ("kinds", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _Attributes(_Extended):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("kinds", ctypes.c_void_p),
        ("names", ctypes.POINTER(ctypes.POINTER(_Span))),
        ("values", ctypes.POINTER(ctypes.POINTER(_Span))),  # strings, as ours are
    )


class _CallFrame(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extension", ctypes.POINTER(_Extension)),
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    )  # more follow


_DTYPES = {
    1: np.bool_, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.uint8, 7: np.uint16, 8: np.uint32,
    9: np.uint64, 10: np.float16, 11: np.float32, 12: np.float64, 15: np.complex64, 16: jnp.bfloat16, 18: np.complex128,
}  # fmt: skip


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_CallFrame))
def _handler(pointer: Any) -> int | None:
    """What XLA calls; None is success, otherwise the address of an error that XLA destroys."""
    frame = pointer.contents
    api = frame.api.contents
    try:
        if frame.extension and frame.extension.contents.kind == METADATA:  # asked at registration, once
            if api.version.major == MAJOR:  # otherwise XLA refuses the version that it finds: none
                metadata = frame.extension.contents.metadata.contents
                metadata.version, metadata.traits = api.version, 0
            return None
        key = _text(frame.attributes.values[0].contents)
        _functions[key](_arrays(frame.arguments, writable=False), _arrays(frame.results, writable=True))
    except BaseException as error:
        logging.debug("a function of the host failed", exc_info=error)
        message = f"{type(error).__name__}: {error}".encode()
        arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, INTERNAL)
        return api.make_error(ctypes.byref(arguments))
    return None


def _text(span: _Span) -> str:
    return ctypes.string_at(span.start, span.length).decode()


def _arrays(buffers: _Buffers, writable: bool) -> list[np.ndarray]:
    """Views of XLA's buffers, which are row-major and dense."""
    found = []
    for item in buffers.items[: buffers.count]:
        buffer = item.contents
        shape, dtype = buffer.dims[: buffer.rank], np.dtype(_DTYPES[buffer.dtype])
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(buffer.data) if size else bytearray()
        array = np.ndarray(shape, dtype, memory)
        array.flags.writeable = writable
        found.append(array)
    return found


@functools.cache
def _registered(target: str) -> bool:
    """Makes the handler known to XLA's CPU client, which must exist: otherwise a refusal would come when it starts."""
    try:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(ctypes.cast(_handler, ctypes.c_void_p).value), "cpu")
    except Exception as error:
        logging.warning("programs with functions of the host are compiled at every start: %s", error)
        return False
    return True
