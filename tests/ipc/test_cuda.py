"""Views of foreign memory by DLPack, on the CPU; sharing GPU memory, with a driver that is a fake, and on a GPU."""

import gc
import multiprocessing
import weakref

import jax
import numpy as np
import pytest

from rpd_jax.ipc.cuda import CudaError, CudaMemory
from rpd_jax.ipc.dlpack import CPU, ForeignArray, _lent


class Owner:
    def __init__(self, array):
        self.array = array


def foreign(array):
    owner = Owner(array)
    return ForeignArray(array.ctypes.data, array.shape, array.dtype.name, (CPU, 0), owner), owner


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64", "bool"])
def test_numpy_sees_foreign_memory_and_keeps_its_owner(dtype):
    memory = np.arange(24).reshape(2, 3, 4).astype(dtype)
    array, owner = foreign(memory)
    view = np.from_dlpack(array)
    np.testing.assert_array_equal(view, memory)
    memory[1, 2, 3] = 0
    assert view[1, 2, 3] == 0 and view.ctypes.data == memory.ctypes.data
    kept = weakref.ref(owner)
    del array, owner
    gc.collect()
    assert kept() is not None
    del view
    gc.collect()
    assert kept() is None and not _lent


def test_jax_sees_foreign_memory():
    memory = np.arange(256, dtype=np.uint8).reshape(2, 128)
    array, _ = foreign(memory)
    np.testing.assert_array_equal(jax.dlpack.from_dlpack(array), memory)


def test_torch_sees_and_writes_foreign_memory():
    torch = pytest.importorskip("torch")
    memory = np.arange(6, dtype=np.float32).reshape(2, 3)
    array, _ = foreign(memory)
    tensor = torch.from_dlpack(array)
    tensor.mul_(2)
    np.testing.assert_array_equal(memory, [[0, 2, 4], [6, 8, 10]])


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(ValueError, match="must be bool, integer or float, got 'complex64'"):
        ForeignArray(0, (1,), "complex64", (CPU, 0))


class FakeDriver:
    """Hands out one address, counts contexts, and fails where told to."""

    def __init__(self, failing=""):
        self.failing, self.calls, self.depth, self.retained = failing, [], 0, 0

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == self.failing:
                return 2
            if name in ("cuMemAlloc_v2", "cuIpcOpenMemHandle_v2"):
                arguments[0]._obj.value = 4096
            elif name == "cuGetErrorString":
                arguments[1]._obj.value = b"out of memory"
            self.retained += {"cuDevicePrimaryCtxRetain": 1, "cuDevicePrimaryCtxRelease_v2": -1}.get(name, 0)
            self.depth += {"cuCtxPushCurrent_v2": 1, "cuCtxPopCurrent_v2": -1}.get(name, 0)
            return 0

        return call


@pytest.mark.parametrize("own", [True, False])
def test_memory_is_given_back_the_way_it_came(own):
    driver = FakeDriver()
    make = (lambda: CudaMemory.create(64, 0, driver)) if own else (lambda: CudaMemory.open(bytes(64), 64, 0, driver))
    memory = make()
    assert memory.array((4, 4), "float32").__dlpack_device__() == (2, 0)
    with pytest.raises(ValueError, match="64 bytes at 4 exceed the memory of 64 bytes"):
        memory.array((4, 4), "float32", offset=4)
    assert len(memory.handle()) == 64
    assert driver.retained == 1  # memory goes with the last user of its context
    memory.close()
    memory.close()
    assert driver.calls.count("cuMemFree_v2" if own else "cuIpcCloseMemHandle") == 1
    assert ("cuMemFree_v2" in driver.calls) == own
    assert driver.depth == driver.retained == 0


def test_errors_of_the_driver_are_named_and_leave_no_context():
    driver = FakeDriver("cuMemAlloc_v2")
    with pytest.raises(CudaError, match="cuMemAlloc_v2: error 2, out of memory"):
        CudaMemory.create(64, 0, driver)
    assert driver.depth == driver.retained == 0
    with pytest.raises(ValueError, match="need 64 bytes, got 3"):
        CudaMemory.open(b"abc", 64, 0, driver)


def test_without_a_stream_the_memory_is_given_back():
    driver = FakeDriver("cuStreamCreate")
    with pytest.raises(CudaError, match="cuStreamCreate: error 2"):
        CudaMemory.create(64, 0, driver)
    assert driver.calls.count("cuMemFree_v2") == 1 and driver.depth == driver.retained == 0


def torch_side(pipe):
    """Allocates, writes with torch, exports."""
    import torch

    memory = CudaMemory.create(4 * 100)
    tensor = torch.from_dlpack(memory.array((10, 10), "float32"))
    tensor.copy_(torch.arange(100.0).reshape(10, 10))
    torch.cuda.synchronize()
    pipe.send_bytes(memory.handle())
    pipe.recv_bytes()
    memory.close()


@pytest.mark.gpu
def test_what_torch_writes_jax_reads():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=torch_side, args=(theirs,))
    process.start()
    jax.numpy.zeros(1).block_until_ready()
    assert ours.poll(60)
    memory = CudaMemory.open(ours.recv_bytes(), 4 * 100)
    view = jax.dlpack.from_dlpack(memory.array((10, 10), "float32"))
    np.testing.assert_array_equal(view, np.arange(100.0).reshape(10, 10))
    del view
    memory.close()
    ours.send_bytes(b"done")
    process.join(20)
    assert process.exitcode == 0
