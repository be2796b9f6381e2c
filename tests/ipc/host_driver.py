"""A stand-in for the CUDA driver in tests: the memory of its GPUs is the host's, shared by processes."""

import ctypes
import mmap
import os
import struct

_HANDLE = struct.Struct("<QQQ")  # process, descriptor, bytes


class HostDriver:
    """The calls that `rpd_jax.ipc.cuda` makes. `order` is how this process numbers the GPUs: CUDA_VISIBLE_DEVICES."""

    def __init__(self, order=(0, 1, 2, 3), failing=""):
        self.order, self.failing = order, failing
        self.calls, self.memory, self.opened = [], {}, {}

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == self.failing:
                return 801
            method = getattr(type(self), f"_{name}", None)
            if method is not None:
                method(self, *arguments)
            elif name.startswith("cuMemcpy"):
                target, source, nbytes, _ = (argument.value for argument in arguments)
                ctypes.memmove(target, source, nbytes)
            return 0

        return call

    def _cuDeviceGet(self, device, number):
        device._obj.value = self.order[number.value]

    def _cuDeviceGetCount(self, count):
        count._obj.value = len(self.order)

    def _cuDeviceGetUuid_v2(self, uuid, device):
        uuid._obj[:] = bytes([device.value]) * 16

    def _cuGetErrorString(self, status, text):
        text._obj.value = b"operation not supported"

    def _cuMemAlloc_v2(self, pointer, nbytes):
        descriptor = os.memfd_create("gpu")
        os.ftruncate(descriptor, nbytes.value)
        memory = mmap.mmap(descriptor, nbytes.value)
        memory[:] = b"\xff" * nbytes.value
        pointer._obj.value = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.memory[pointer._obj.value] = (memory, descriptor)

    def _cuMemFree_v2(self, pointer):
        os.close(self.memory.pop(pointer.value)[1])

    def _cuMemsetD8Async(self, pointer, value, nbytes, stream):
        ctypes.memset(pointer.value, value.value, nbytes.value)

    def _cuStreamCreate(self, stream, flags):
        stream._obj.value = 1 + self.calls.count("cuStreamCreate")

    def _cuIpcGetMemHandle(self, handle, pointer):
        memory, descriptor = self.memory[pointer.value]
        packed = _HANDLE.pack(os.getpid(), descriptor, len(memory))
        ctypes.memmove(ctypes.addressof(handle._obj), packed, len(packed))

    def _cuIpcOpenMemHandle_v2(self, pointer, handle, flags):
        process, descriptor, nbytes = _HANDLE.unpack_from(bytes(handle))
        with open(f"/proc/{process}/fd/{descriptor}", "r+b", buffering=0) as file:
            memory = mmap.mmap(file.fileno(), nbytes)
        pointer._obj.value = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.opened[pointer._obj.value] = memory

    def _cuIpcCloseMemHandle(self, pointer):
        del self.opened[pointer.value]
