"""Supervised processes: calls, deadlines, and that none is ever left behind."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from children import ROOT, wait_until_gone

from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.messages import ConnectionClosed, RemoteError
from rpd_jax.ipc.process import SidecarProcess

HERE = Path(__file__).parent


def start(**options):
    return SidecarProcess("echo_sidecar", environment={"PYTHONPATH": str(HERE)}, **options)


@pytest.fixture
def sidecar():
    with start() as process:
        yield process


def test_calls_and_ping(sidecar):
    assert sidecar.call("ping", deadline_s=20).kind == "pong"
    assert sidecar.call("echo", {"a": [1, "b", None]}, deadline_s=20).fields == {"a": [1, "b", None]}
    assert sidecar.alive


def test_environment_variables_reach_the_child():
    with SidecarProcess("echo_sidecar", environment={"PYTHONPATH": str(HERE), "RPD_TEST": "7"}) as process:
        assert process.call("environment", {"name": "RPD_TEST"}, 20).fields == {"value": "7"}


def test_arrays_are_shared_through_an_inherited_descriptor():
    arrays = SharedArrays.create({"x": ((4,), "float32"), "y": ((4,), "float32")})
    arrays["x"][:] = [1, 2, 3, 4]
    with start(descriptors=[arrays.descriptor]) as process:
        fields = {"descriptor": arrays.descriptor, "table": arrays.table()}
        assert process.call("attach", fields, 20).fields == {"names": ["x", "y"]}
    np.testing.assert_array_equal(arrays["y"], [2, 4, 6, 8])
    arrays.close()


def test_what_a_handler_raises_is_raised_here_and_the_process_goes_on(sidecar):
    with pytest.raises(RemoteError, match="KeyError: 'no such thing'") as caught:
        sidecar.call("fail", deadline_s=20)
    assert "in fail" in caught.value.remote_traceback
    with pytest.raises(RemoteError, match=r"^SystemExit: 3(\n|$)"):
        sidecar.call("leave", {"status": 3}, deadline_s=20)
    with pytest.raises(RemoteError, match="unknown request 'nonsense'"):
        sidecar.call("nonsense", deadline_s=20)
    assert sidecar.call("ping", deadline_s=20).kind == "pong"
    assert "in fail" in sidecar.log_tail()


def test_a_deadline_passes_and_the_late_reply_is_not_taken_for_the_next_one(sidecar):
    sidecar.call("ping", deadline_s=20)
    with pytest.raises(TimeoutError):
        sidecar.call("nap", {"seconds": 0.3}, deadline_s=0.05)
    assert sidecar.call("echo", {"x": 1}, deadline_s=20).fields == {"x": 1}


def test_a_process_that_ends_is_noticed_at_once(sidecar):
    with pytest.raises(ConnectionClosed):
        sidecar.call("exit", deadline_s=60)
    with pytest.raises(ConnectionClosed):
        sidecar.call("ping", deadline_s=60)
    sidecar.kill()
    assert not sidecar.alive


def test_a_reply_that_is_too_large_ends_the_process_with_a_reason(sidecar):
    with pytest.raises(ConnectionClosed):
        sidecar.call("huge", deadline_s=20)
    assert "exceed the limit" in sidecar.log_tail()


def test_the_log_keeps_the_last_lines(sidecar):
    for i in range(30):
        sidecar.call("say", {"text": f"line {i}"}, 20)
    assert sidecar.log_tail(2) == "line 28\nline 29"


def test_a_stuck_process_is_killed_and_reaped():
    process = start()
    process.send("stuck")
    with pytest.raises(TimeoutError):
        process.call("ping", deadline_s=0.5)
    pid = process.pid
    process.close(timeout_s=0.1)
    process.close()
    assert not process.alive
    assert not Path(f"/proc/{pid}").exists()


def test_a_polite_end_has_exit_status_zero(sidecar):
    sidecar.call("ping", deadline_s=20)
    sidecar.close(timeout_s=20)
    assert sidecar._process.returncode == 0


def test_a_forgotten_process_is_ended_with_its_object():
    process = start()
    pid = process.pid
    del process
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()


def test_it_outlives_the_thread_that_made_it():
    made = []
    thread = threading.Thread(target=lambda: made.append(start()))
    thread.start()
    thread.join()
    time.sleep(0.3)
    with made[0] as process:
        assert process.call("ping", deadline_s=20).kind == "pong"


def test_an_interrupt_does_not_reach_it(sidecar):
    sidecar.call("ping", deadline_s=20)
    os.kill(sidecar.pid, signal.SIGINT)
    assert os.getsid(sidecar.pid) == sidecar.pid
    assert sidecar.call("ping", deadline_s=20).kind == "pong"


def test_an_interpreter_that_does_not_exist():
    with pytest.raises(OSError, match="no/such/python"):
        start(python="no/such/python")


PARENT = """
    import os, sys, time
    from rpd_jax.ipc.process import SidecarProcess
    process = SidecarProcess("echo_sidecar", environment={"PYTHONPATH": sys.argv[1]})
    process.call("ping", deadline_s=30)
    if sys.argv[2] == "stuck":
        process.send("stuck")
    if sys.argv[2] == "forked" and os.fork() == 0:  # lives on and holds the socket open
        time.sleep(5)
        os._exit(0)
    print(process.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "stuck", "forked"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_is_left_when_the_parent_is_ended(number, state):
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(HERE), state]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(number)
        parent.wait(20)
    assert wait_until_gone(pid)


def test_a_stopped_process_does_not_outlive_its_parent_either():
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(HERE), "idle"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
        parent.wait(20)
    assert wait_until_gone(pid)
