"""Arrays that a process with JAX and one with torch share, on the CPU and on a GPU, whose driver can be a stand-in."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from host_driver import HostDriver

from rpd_jax.ipc import dlpack
from rpd_jax.ipc.arrays import memory_descriptor
from rpd_jax.ipc.cuda import CudaError
from rpd_jax.ipc.device import DeviceArrays, Part
from rpd_jax.ipc.dlpack import CPU, CUDA, Borrowed, ForeignArray
from rpd_jax.ipc.process import SidecarProcess

SPECS = {"x": ((4, 3), "float32"), "y": ((4, 3), "float32"), "flag": ((4,), "bool"), "count": ((), "int64")}


class OnDevice:
    """A dense array of the host that says it is on a GPU."""

    def __init__(self, array, number=0):
        self.array = array
        self.foreign = ForeignArray(array.ctypes.data, array.shape, array.dtype.name, (CUDA, number), array)
        self.__dlpack__ = self.foreign.__dlpack__
        self.__dlpack_device__ = self.foreign.__dlpack_device__


@pytest.fixture(params=["cpu", "cuda:0"])
def pair(request):
    """Two sides of the same arrays in this process; those on a GPU with the driver's stand-in."""
    driver = HostDriver()
    ours = DeviceArrays.create(SPECS, request.param, driver=driver)
    shared = ours.share()
    if request.param == "cpu":
        shared["memory"] = os.dup(shared["memory"])
    theirs = DeviceArrays.attach(shared, driver)
    yield ours, theirs
    theirs.close()
    ours.close()
    assert not driver.memory


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_jax_and_torch_in_two_processes_see_each_others_writes(device, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    descriptor = memory_descriptor() if device == "cpu" else None  # before the sizes are known, as simulators need it
    inherited = [] if descriptor is None else [descriptor]
    with SidecarProcess("device_sidecar", descriptors=inherited) as process:
        arrays = DeviceArrays.create(SPECS, device, descriptor=descriptor)
        said = process.call("attach", arrays.share(), 120.0)
        assert said.fields == {"same": True, "devices": [device] * 4}
        views = {name: jax.dlpack.from_dlpack(arrays.view(name)) for name in ("x", "y", "flag")}
        for name, view in views.items():  # no copy: the frameworks' addresses are those of the shared memory
            assert view.unsafe_buffer_pointer() == Borrowed(arrays.view(name)).pointer
            assert view.devices().pop().platform == ("cpu" if device == "cpu" else "gpu")
        copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
        for step in (1, 2):
            x = jnp.arange(12.0).reshape(4, 3) / step
            arrays.write("x", x.block_until_ready())
            arrays.synchronize()
            process.call("double", deadline_s=60.0)
            got = jax.block_until_ready(copy(views))
            np.testing.assert_array_equal(got["x"], x)
            np.testing.assert_array_equal(got["y"], 2 * x)
            np.testing.assert_array_equal(got["flag"], x[:, 0] > 2)
            assert arrays.read("count") == step
        kept = got["y"]
        arrays.write("y", np.zeros((4, 3), np.float32))
        np.testing.assert_array_equal(kept, 2 * x)  # a copy on the device is not touched any more
        process.close()
        del views, view, got
        arrays.close()


def test_both_sides_read_and_write_in_place(pair):
    ours, theirs = pair
    for name, (shape, dtype) in SPECS.items():
        assert not ours.read(name).any() and ours.read(name).dtype == dtype and ours.read(name).shape == shape
    ours.write("x", np.arange(12, dtype=np.float32).reshape(3, 4).T)  # not dense
    np.testing.assert_array_equal(theirs.read("x"), np.arange(12).reshape(3, 4).T)
    theirs.write("flag", np.array([True, False, True, True]))
    theirs.write("count", np.int64(7))
    assert ours.read("flag").tolist() == [True, False, True, True]
    assert ours.read("count") == 7
    np.testing.assert_array_equal(theirs.read("x"), np.arange(12).reshape(3, 4).T)  # the neighbours are untouched
    assert theirs.table() == ours.table()
    ours.synchronize()


def test_values_on_the_same_gpu_do_not_pass_through_the_host():
    driver = HostDriver()
    arrays = DeviceArrays.create(SPECS, "cuda:0", driver=driver)
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    arrays.write("x", OnDevice(values))
    assert "cuMemcpyDtoDAsync_v2" in driver.calls
    assert not {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"} & set(driver.calls)
    np.testing.assert_array_equal(arrays.read("x"), values)
    with pytest.raises(ValueError, match="'x' is on cuda:0, the values are on cuda:1"):
        arrays.write("x", OnDevice(values, 1))
    with pytest.raises(ValueError, match=r"'x': need float32 of shape \(4, 3\), got int8 of \(4, 3\)"):
        arrays.write("x", OnDevice(values.astype(np.int8)))
    assert arrays.view("y").__dlpack_device__() == (CUDA, 0)
    arrays.close()


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_parts_of_arrays_are_written_and_read_alone(device):
    arrays = DeviceArrays.create({"x": ((3, 4, 2), "int16")}, device, driver=HostDriver())
    arrays.write("x", np.int16([[1, 2], [3, 4]]), Part(1, 2))
    assert arrays.read("x").tolist() == [[[0, 0]] * 4, [[1, 2], [3, 4], [0, 0], [0, 0]], [[0, 0]] * 4]
    assert arrays.read("x", Part(1, 1)).tolist() == arrays.on_host("x", Part(1, 1)).tolist() == [[1, 2]]
    whole, part = Borrowed(arrays.view("x")), Borrowed(arrays.view("x", Part(2, 3)))
    assert part.shape == (3, 2) and part.pointer == whole.pointer + 2 * 4 * 2 * 2
    with pytest.raises(ValueError, match=r"'x': need int16 of shape \(2, 2\), got int16 of \(3, 2\)"):
        arrays.write("x", np.zeros((3, 2), np.int16), Part(1, 2))
    for part in (Part(3, 1), Part(-1, 1), Part(0, 5)):
        with pytest.raises(ValueError, match=r"of shape \(3, 4, 2\) has no part"):
            arrays.view("x", part)
    arrays.close()


def test_processes_may_number_gpus_differently():
    ours = DeviceArrays.create(SPECS, "cuda:3", driver=HostDriver())
    assert DeviceArrays.attach(ours.share(), HostDriver(order=(2, 3))).device == "cuda:1"
    with pytest.raises(CudaError, match="does not see the GPU 0303"):
        DeviceArrays.attach(ours.share(), HostDriver(order=(0, 1)))
    ours.close()


def test_memory_of_a_gpu_comes_in_whole_blocks_and_is_freed_once():
    driver = HostDriver()
    arrays = DeviceArrays.create(SPECS, "cuda:3", driver=driver)
    assert arrays.share()["nbytes"] == 2 << 20
    arrays.close()
    arrays.close()
    assert driver.calls.count("cuMemFree_v2") == driver.calls.count("cuStreamDestroy_v2") == 1
    assert "cuCtxSynchronize" not in driver.calls  # which would wait for others, and fail while one records a graph
    for call in (arrays.share, arrays.synchronize, lambda: arrays.view("x"), lambda: arrays.read("x")):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_view_that_nobody_takes_is_given_back():
    jax.ffi.pycapsule(1)  # sets the prototype of ctypes' own PyCapsule_New, which all share
    arrays = DeviceArrays.create(SPECS)
    before = set(dlpack._lent)
    capsule = arrays.view("x").__dlpack__()
    assert len(set(dlpack._lent) - before) == 1
    del capsule
    taken = np.from_dlpack(arrays.view("x"))
    assert len(set(dlpack._lent) - before) == 1
    del taken
    assert not set(dlpack._lent) - before
    arrays.close()


def test_borrowed_memory_is_a_frameworks_own():
    array = jnp.arange(6, dtype=jnp.int32).reshape(2, 3)
    seen = Borrowed(array)
    assert (seen.shape, seen.dtype, seen.device) == ((2, 3), "int32", (CPU, 0))
    assert seen.pointer == array.unsafe_buffer_pointer()
    with pytest.raises(ValueError, match="must be dense"):
        Borrowed(np.zeros((3, 4)).T)
    with pytest.raises(ValueError, match="must be bool, integer or float"):
        Borrowed(np.zeros(3, np.complex64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: a.view("z"), r"array 'z': unknown, there are \['count', 'flag', 'x', 'y'\]"),
        (lambda a: a.write("x", np.zeros((4, 3))), r"'x': need float32 of shape \(4, 3\), got float64 of \(4, 3\)"),
        (lambda a: a.write("x", np.zeros((3, 3), np.float32)), r"got float32 of \(3, 3\)"),
        (lambda a: a.write("flag", np.zeros(4, np.uint8)), "'flag': need bool"),
    ],
)
def test_what_does_not_fit_is_refused(pair, call, message):
    with pytest.raises(ValueError, match=message):
        call(pair[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": [["x", [1 << 20], "float32", 0]]}, "exceed the memory"),
        ({"table": [["x", [1], "float32", 4]]}, "multiple of 64"),
        ({"table": [["x", [1], "float32", 0]] * 2}, "names must differ"),
        ({"table": [["x", [1]]]}, "need rows"),
        ({"device": "tpu:0"}, "need 'cpu' or 'cuda:N', got 'tpu:0'"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_bad_message_is_refused(device, change, message):
    driver = HostDriver()
    arrays = DeviceArrays.create(SPECS, device, driver=driver)
    with pytest.raises(ValueError, match=message):
        DeviceArrays.attach({**arrays.share(), **change}, driver)
    with pytest.raises(ValueError, match="field 'memory' is missing"):
        DeviceArrays.attach({"device": device, "table": arrays.table()}, driver)
    arrays.close()


@pytest.mark.parametrize("device", ["cuda", "cuda:x", "gpu:0", "", "CPU"])
def test_bad_names_of_devices(device):
    with pytest.raises(ValueError, match="need 'cpu' or 'cuda:N'"):
        DeviceArrays.create(SPECS, device)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_bad_specs(device):
    for specs, message in (
        ({}, "at least one"),
        ({"x": ((2,), "object")}, "dtype must be"),
        ({"x": ((-1,), "int8")}, "negative"),
    ):
        with pytest.raises(ValueError, match=message):
            DeviceArrays.create(specs, device, driver=HostDriver())
