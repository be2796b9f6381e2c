"""Slots in memory of a GPU that two processes share. The driver is a stand-in whose GPUs' memory is the host's."""

import logging
from pathlib import Path

import jax
import numpy as np
import pytest
from host_driver import HostDriver

from rpd_jax import placement
from rpd_jax.ipc import cuda
from rpd_jax.ipc.dlpack import CPU, CUDA, ForeignArray
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.slots import Layout, SlotCalls

HERE = Path(__file__).parent
INPUTS, OUTPUTS = {"x": ((3,), "float32")}, {"y": ((2,), "float32"), "where": ((2,), "int64")}
COPIES = {"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoDAsync_v2", "cuMemcpyDtoHAsync_v2"}


@pytest.fixture
def driver(monkeypatch):
    driver = HostDriver()
    monkeypatch.setattr(cuda, "load_driver", lambda: driver)
    yield driver
    assert not driver.memory and not driver.opened


def open_calls(*arguments, device="cuda:2"):
    def start(descriptor):
        environment = {"PYTHONPATH": str(HERE)}
        return SidecarProcess(
            "gpu_model", arguments=["--heartbeat=0.05", *arguments], environment=environment, descriptors=[descriptor]
        )

    limits = Limits(deadline_s=20.0, start_deadline_s=20.0, backoff_s=0.01, heartbeat_s=10.0, queue_size=3)
    return SlotCalls(start, lambda spec: Layout(4, INPUTS, OUTPUTS, device), limits=limits)


class OnGPU:
    """A dense array of the host that says it is on a GPU."""

    def __init__(self, array, number):
        self.shape, self.dtype = array.shape, array.dtype
        foreign = ForeignArray(array.ctypes.data, array.shape, array.dtype.name, (CUDA, number), array)
        self.__dlpack__, self.__dlpack_device__ = foreign.__dlpack__, foreign.__dlpack_device__

    def __len__(self):
        return self.shape[0]


def numbers(value, rows=4):
    return np.full((rows, 3), value, np.float32) + np.arange(rows, dtype=np.float32)[:, None]


def take(calls, ticket):
    outputs = {name: array.copy() for name, array in calls.outputs(ticket).items()}
    calls.release(ticket)
    return outputs


def test_arrays_of_the_gpu_go_there_and_back_without_passing_through_the_host(driver):
    with open_calls() as calls:
        assert calls.device == "cuda:2" and calls.spec["gpus"] == [cuda.gpu_uuid(2)]
        driver.calls.clear()
        sent = [(numbers(10), True), (numbers(20, rows=2), False), (numbers(30, rows=3), True)]
        tickets = [calls.submit({"x": OnGPU(x, 2)}, {"on_gpu": on_gpu}) for x, on_gpu in sent]
        assert COPIES & set(driver.calls) == {"cuMemcpyDtoDAsync_v2"}
        for (x, _), ticket in zip(sent, tickets, strict=True):
            got = take(calls, ticket)
            np.testing.assert_array_equal(got["y"], np.stack([x.sum(1), x[:, 0]], 1))
            np.testing.assert_array_equal(got["where"], np.tile([CUDA, 0], (len(x), 1)))  # its own number for that GPU


@pytest.mark.gpu
def test_jax_and_torch_share_slots_on_a_gpu():
    pytest.importorskip("torch")
    x = jax.random.normal(jax.random.key(0), (4, 3)).block_until_ready()
    with open_calls("--torch", device=placement.first_gpu()) as calls:
        assert calls.device == placement.first_gpu()
        for on_gpu in (False, True):
            got = take(calls, calls.submit({"x": x}, {"on_gpu": on_gpu}))
            np.testing.assert_allclose(got["y"], np.stack([np.sum(x, 1), x[:, 0]], 1), rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(got["where"][:, 0], CUDA)


def test_arrays_of_the_host_are_copied_to_the_gpu_once(driver):
    with open_calls() as calls:
        driver.calls.clear()
        ticket = calls.submit({"x": numbers(5)})
        assert driver.calls.count("cuMemcpyHtoDAsync_v2") == 1
        np.testing.assert_array_equal(take(calls, ticket)["y"][:, 1], numbers(5)[:, 0])


def test_arrays_of_another_gpu_are_refused(driver):
    with open_calls() as calls:
        with pytest.raises(ValueError, match="'in/x' is on cuda:2, the values are on cuda:1"):
            calls.submit({"x": OnGPU(numbers(1), 1)})
        assert calls.under_way == 0


def test_a_kill_is_made_good(driver, tmp_path):
    with open_calls(f"--once={tmp_path / 'once'}") as calls:
        tickets = [calls.submit({"x": OnGPU(numbers(value), 2)}, {"fail": value == 2}) for value in (1, 2, 3)]
        for value, ticket in zip((1, 2, 3), tickets, strict=True):
            np.testing.assert_array_equal(take(calls, ticket)["y"][:, 1], numbers(value)[:, 0])
        assert calls.metrics()["restarts"] == 1


@pytest.mark.parametrize("side", ["here", "there"])
def test_where_the_gpus_memory_cannot_be_shared_the_host_does(driver, side, caplog):
    arguments = ("--failing=cuIpcOpenMemHandle_v2",) if side == "there" else ()
    driver.failing = "cuIpcGetMemHandle" if side == "here" else ""
    with caplog.at_level(logging.WARNING), open_calls(*arguments) as calls:
        assert calls.device == "cpu" and not driver.memory
        got = take(calls, calls.submit({"x": numbers(7)}))
        np.testing.assert_array_equal(got["y"][:, 1], numbers(7)[:, 0])
        np.testing.assert_array_equal(got["where"], np.tile([CPU, 0], (4, 1)))
    assert "arrays pass through the host, not through cuda:2" in caplog.text
    assert "operation not supported" in caplog.text


def test_a_gpu_that_the_other_side_does_not_see(driver, caplog):
    with caplog.at_level(logging.WARNING), open_calls(device="cuda:1") as calls:  # it has 2 and 3
        assert calls.device == "cpu"
    assert "this process does not see the GPU 0101" in caplog.text
