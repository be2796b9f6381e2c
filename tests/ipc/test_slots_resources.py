"""Calls with arrays to a sidecar: memory that is not there, and what is left of memory, descriptors and processes."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc

import numpy as np
import pytest
from children import ROOT, wait_until_gone
from faulty_calls import HERE, QUICK, ask, open_calls, start_model, take

from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.slots import Layout, SlotCalls


def test_memory_that_is_not_there_is_an_error_before_anything_is_written(pids):
    huge = Layout(1, {"x": ((1 << 55,), "uint8")}, {"y": ((2,), "float32")})

    def start(descriptor):
        return start_model(descriptor, started=pids)

    with pytest.raises(OSError, match=r"no shared memory for .* MiB of arrays \(in/x, out/y\)"):
        SlotCalls(start, lambda spec: huge, limits=Limits(**QUICK))


def test_a_failing_allocation_closes_its_descriptor():
    before = set(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # as if the file system were full
    try:
        with pytest.raises(OSError, match=r"no shared memory for 2\.0 MiB of arrays \(x\)"):
            SharedArrays.create({"x": ((2 << 20,), "uint8")})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert set(os.listdir("/proc/self/fd")) == before


def test_nothing_is_left_open(pids):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        with open_calls(started=pids) as calls:
            take(calls, ask(calls, 1))
    assert len(os.listdir("/proc/self/fd")) == before


def test_calls_keep_no_memory(pids):
    x = np.ones((4, 3), np.float32)
    y = np.empty((4, 2), np.float32)
    with open_calls(started=pids) as calls:

        def call():
            ticket = calls.submit({"x": x})
            np.copyto(y, calls.outputs(ticket)["y"])
            calls.release(ticket)

        tracemalloc.start()
        try:
            for _ in range(1000):  # the free lists of the interpreter are full after about 400
                call()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(50):
                call()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 50 * 16  # bytes: not one object per call


PARENT = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import faulty_calls
    pids = []
    calls = faulty_calls.open_calls("--fault=hang", started=pids)
    ticket = faulty_calls.ask(calls, 1, fail=True)
    print(pids[0], flush=True)
    calls.outputs(ticket)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_when_the_parent_is_ended_while_it_waits(number):
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(HERE)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.send_signal(number)
        assert parent.wait(20) != 0
    assert wait_until_gone(pid)
