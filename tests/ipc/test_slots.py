"""Calls with arrays to a sidecar that fails in every way that it can, with real processes."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.handshake import HandshakeError
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.slots import Layout, SlotCalls
from rpd_jax.ipc.supervised import QueueFull, SidecarFailed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAYOUT = Layout(4, {"x": ((3,), "float32")}, {"y": ((2,), "float32")})
QUICK = {"deadline_s": 20.0, "start_deadline_s": 20.0, "heartbeat_s": 10.0, "backoff_s": 0.01}


def open_calls(*arguments, expect=None, started=None, **limits):
    def start(descriptor):
        process = SidecarProcess(
            "faulty_model",
            arguments=["--heartbeat=0.05", *arguments],
            environment={"PYTHONPATH": str(HERE)},
            descriptors=[descriptor],
        )
        if started is not None:
            started.append(process.pid)
        return process

    return SlotCalls(start, lambda spec: LAYOUT, expect=expect, limits=Limits(**(QUICK | limits)))


@pytest.fixture
def pids():
    """Of the processes that `open_calls(started=...)` starts; none may be left."""
    pids = []
    yield pids
    assert pids
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def ask(calls, value, rows=4, **fields):
    return calls.submit({"x": np.full((rows, 3), value, np.float32)}, fields)


def take(calls, ticket):
    values = calls.outputs(ticket)["y"].copy()
    calls.release(ticket)
    return values


def answer_to(value, rows=4):
    return np.tile(np.float32([3 * value, value]), (rows, 1))


def test_answers_belong_to_their_requests(pids):
    with open_calls(started=pids, queue_size=3) as calls:
        tickets = [ask(calls, value, rows, factor=2) for value, rows in ((1, 4), (2, 1), (3, 2))]
        for ticket, value, rows in reversed(list(zip(tickets, (1, 2, 3), (4, 1, 2), strict=True))):
            np.testing.assert_array_equal(take(calls, ticket), 2 * answer_to(value, rows))
        assert calls.spec["action_dim"] == 2 and calls.under_way == 0
        assert calls.metrics()["restarts"] == 0


def test_slots_are_bounded_and_given_back(pids):
    with open_calls(started=pids, queue_size=2) as calls:
        first, second = ask(calls, 1), ask(calls, 2)
        with pytest.raises(QueueFull, match="all 2 slots are taken"):
            ask(calls, 3)
        calls.release(first)  # before its answer is there
        np.testing.assert_array_equal(take(calls, second), answer_to(2))
        np.testing.assert_array_equal(take(calls, ask(calls, 4)), answer_to(4))
        assert calls.has_room and calls.under_way == 0


def test_inputs_are_checked_before_anything_is_written(pids):
    with open_calls(started=pids) as calls:
        for inputs, message in (
            ({"z": np.zeros((1, 3), np.float32)}, r"need \['x'\], got \['z'\]"),
            ({"x": np.zeros((5, 3), np.float32)}, "need 1 to 4 rows, got 5"),
            ({"x": np.zeros((2, 4), np.float32)}, r"need float32 of shape \(2, 3\), got float32 of \(2, 4\)"),
            ({"x": np.zeros((2, 3))}, "got float64"),
        ):
            with pytest.raises(ValueError, match=message):
                calls.submit(inputs)
        with pytest.raises(ValueError, match="plain data"):
            calls.submit({"x": np.zeros((2, 3), np.float32)}, {"key": object()})
        np.testing.assert_array_equal(take(calls, ask(calls, 1)), answer_to(1))


@pytest.mark.parametrize("fault", ["crash", "hang", "stuck"])
def test_a_failure_during_a_request_is_made_good(fault, tmp_path, pids):
    limits = {"hang": {"deadline_s": 1.0}, "stuck": {"heartbeat_s": 1.0}}.get(fault, {})
    with open_calls(f"--fault={fault}", f"--once={tmp_path / 'once'}", started=pids, queue_size=3, **limits) as calls:
        tickets = [ask(calls, 1), ask(calls, 2, fail=True), ask(calls, 3)]
        for ticket, value in zip(tickets, (1, 2, 3), strict=True):
            np.testing.assert_array_equal(take(calls, ticket), answer_to(value))
        metrics = calls.metrics()
        assert metrics["restarts"] == 1
        assert metrics["resent"] == 2  # the one that it failed with, and the one behind it; not the one answered
        assert metrics["seconds_waiting"] > 0
        np.testing.assert_array_equal(take(calls, ask(calls, 4)), answer_to(4))
    assert len(pids) == 2


def test_a_slow_request_is_not_taken_for_a_hang_while_its_heart_beats(pids):
    with open_calls(started=pids, heartbeat_s=1.0) as calls:
        np.testing.assert_array_equal(take(calls, ask(calls, 1, seconds=1.6)), answer_to(1))
        assert calls.metrics()["restarts"] == 0


def test_a_death_before_the_request_is_made_good(pids):
    with open_calls(started=pids) as calls:
        os.kill(pids[0], signal.SIGKILL)
        time.sleep(0.1)
        np.testing.assert_array_equal(take(calls, ask(calls, 1)), answer_to(1))
        assert calls.metrics()["restarts"] == 1


def test_a_death_after_the_answer_does_not_lose_it(pids):
    with open_calls(started=pids) as calls:
        ticket = ask(calls, 1)
        while not calls.ready(ticket):
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGKILL)
        np.testing.assert_array_equal(take(calls, ticket), answer_to(1))
        assert calls.metrics()["restarts"] == 0
        np.testing.assert_array_equal(take(calls, ask(calls, 2)), answer_to(2))
        assert calls.metrics()["restarts"] == 1


def test_the_same_request_twice_is_the_end_and_the_log_is_shown(pids):
    with open_calls("--fault=crash", started=pids) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(SidecarFailed, match=r"failed twice with the same request(.|\n)*about to crash"):
            calls.outputs(ticket)
        with pytest.raises(SidecarFailed, match="is not there: faulty_model failed twice"):
            ask(calls, 2)
    assert len(pids) == 2


def test_restarts_that_fail_back_off_and_end():
    starts = []

    def start(descriptor):
        starts.append(time.monotonic())
        if len(starts) > 1:
            raise ConnectionError("cannot")
        return SidecarProcess("faulty_model", environment={"PYTHONPATH": str(HERE)}, descriptors=[descriptor])

    limits = Limits(**(QUICK | {"backoff_s": 0.1, "max_restarts": 3}))
    with SlotCalls(start, lambda spec: LAYOUT, limits=limits) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(SidecarFailed, match="failed 4 times in a row, with ConnectionError: cannot"):
            calls.outputs(ticket)
    assert len(starts) == 4
    pauses = np.diff(starts[1:])  # between the restarts, after 0.1 s before the first
    assert pauses[0] >= 0.2 and pauses[1] >= 0.4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"the model's 'y' must be float32 of shape \(4, 2\), it is float32 of \(4, 3\)"),
        ("names", r"the model must answer \['y'\], it answered \['z'\]"),
        ("fail", "KeyError: 'no such thing'"),
    ],
)
def test_a_wrong_answer_is_raised_here_with_its_traceback(fault, message, pids):
    with open_calls(f"--fault={fault}", started=pids) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(RemoteError, match=message) as caught:
            calls.outputs(ticket)
        assert "slot_server.py" in caught.value.remote_traceback
        np.testing.assert_array_equal(take(calls, ask(calls, 2)), answer_to(2))
        assert calls.metrics()["restarts"] == 0 and calls.under_way == 0


@pytest.mark.parametrize(
    ("arguments", "expect", "message"),
    [
        ([], {"action_dim": 7}, "action_dim is 7 here, 2 on the other side"),
        (["--slot-version=9"], {}, "protocol is 2 here, 9 on the other side"),
        (["--message-version=9"], {}, "protocol version 9 of the far side, 1 here"),
    ],
)
def test_sides_that_do_not_fit_are_refused_by_name_and_without_retries(arguments, expect, message, pids):
    with pytest.raises(HandshakeError, match=message):
        open_calls(*arguments, expect=expect, started=pids)
    assert len(pids) == 1


def test_another_model_after_a_restart_is_refused(pids):
    names = iter(["first", "second"])

    def start(descriptor):
        process = SidecarProcess(
            "faulty_model",
            arguments=[f"--name={next(names)}"],
            environment={"PYTHONPATH": str(HERE)},
            descriptors=[descriptor],
        )
        pids.append(process.pid)
        return process

    with SlotCalls(start, lambda spec: LAYOUT, limits=Limits(**QUICK)) as calls:
        ticket = ask(calls, 1, fail=True)
        with pytest.raises(HandshakeError, match="after a restart: name is 'first' here, 'second' on the other side"):
            calls.outputs(ticket)


def test_a_module_that_cannot_start_is_shown_with_its_output():
    with pytest.raises(SidecarFailed, match=r"cannot be started(.|\n)*No module named no_such_module"):
        SlotCalls(lambda descriptor: SidecarProcess("no_such_module"), lambda spec: LAYOUT, limits=Limits(**QUICK))


def test_memory_that_is_not_there_is_an_error_before_anything_is_written(pids):
    huge = Layout(1, {"x": ((1 << 55,), "uint8")}, {"y": ((2,), "float32")})

    def start(descriptor):
        process = SidecarProcess("faulty_model", environment={"PYTHONPATH": str(HERE)}, descriptors=[descriptor])
        pids.append(process.pid)
        return process

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
            for _ in range(400):  # the interpreter's own pools are filled by then
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
    import test_slots
    pids = []
    calls = test_slots.open_calls("--fault=hang", started=pids)
    ticket = test_slots.ask(calls, 1, fail=True)
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
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break  # nobody here may reap it
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{pid}").exists()
