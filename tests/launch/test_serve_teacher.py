"""Serving a teacher's model in the foreground."""

import signal
import subprocess
import sys
import time

from children import ROOT, refusal

from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.slots import Layout, SlotCalls
from rpd_jax.ipc.sockets import SocketSidecar


def test_it_serves_until_it_is_interrupted(tmp_path):
    path = tmp_path / "own" / "socket"
    command = [sys.executable, "-m", "launch.serve_teacher", "--teacher=linear", f"--socket={path}"]
    with subprocess.Popen(
        [*command, "--argument=--action-dim=5"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as server:
        end = time.monotonic() + 30
        while not path.exists() and server.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        layout = Layout(
            2,
            {"rgb": ((8, 8, 3), "uint8")},
            {"action": ((5,), "float32"), "std": ((5,), "float32"), "valid": ((), "bool")},
        )
        limits = Limits(start_deadline_s=20)
        with SlotCalls(lambda fd: SocketSidecar(path, fd), lambda spec: layout, limits=limits) as calls:
            assert calls.spec["name"] == "linear"
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
    assert not path.exists()


def test_mistakes_are_one_line():
    for flags, message in (
        (["--teacher=linaer"], "teacher='linaer' is unknown: choose from linear"),
        (["--teacher=linear", "--python=/no/such/python"], "python='/no/such/python' cannot work"),
    ):
        assert refusal("serve_teacher", "--socket=/nowhere/socket", *flags).startswith(f"error: {message}")
