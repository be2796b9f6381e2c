"""Named sockets: who may connect, and what is left of a dead server."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rpd_jax.ipc import sockets
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.slots import Layout, SlotCalls
from rpd_jax.ipc.sockets import SocketSidecar, listen
from rpd_jax.ipc.supervised import SidecarFailed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAYOUT = Layout(4, {"x": ((3,), "float32")}, {"y": ((2,), "float32")})
LIMITS = Limits(deadline_s=10, start_deadline_s=10, heartbeat_s=5, backoff_s=0.2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "own" / "socket"


def start_server(path):
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{ROOT}"}
    server = subprocess.Popen(
        [sys.executable, "-m", "faulty_model", f"--listen={path}"], env=environment, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 20
    while not path.exists() and time.monotonic() < end and server.poll() is None:
        time.sleep(0.02)
    return server


@pytest.fixture
def server(path):
    with start_server(path) as server:
        yield server
        server.kill()


def ask(calls, value):
    ticket = calls.submit({"x": np.full((2, 3), value, np.float32)})
    answer = calls.outputs(ticket)["y"].copy()
    calls.release(ticket)
    return answer


def connect(path):
    return SlotCalls(lambda descriptor: SocketSidecar(path, descriptor), lambda spec: LAYOUT, limits=LIMITS)


def test_modes(path):
    with listen(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_directory_that_others_can_enter_is_refused(path):
    path.parent.mkdir(mode=0o755)
    with pytest.raises(ValueError, match="must be your own with mode 0700, it has 0755"):
        listen(path)


def test_a_path_that_the_kernel_would_cut_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must have at most 107 bytes"):
        listen(tmp_path / ("x" * 120))


def test_a_dead_servers_socket_is_replaced_but_no_other_file(path):
    listen(path).close()
    assert path.exists()
    listen(path).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(ValueError, match="something else has this name"):
        listen(path)
    assert path.read_text() == "precious"


def test_a_server_that_is_busy_with_others_does_not_block(path):
    with listen(path), contextlib.ExitStack() as stack:
        for _ in range(sockets._BACKLOG + 1):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        with pytest.raises(ConnectionRefusedError, match="busy with others"):
            SocketSidecar(path, 0)


def test_a_living_servers_socket_is_not_replaced(path):
    with listen(path), pytest.raises(OSError, match="another server is listening there"):
        listen(path)


def test_another_user_is_refused_on_both_sides(path, monkeypatch):
    with listen(path) as listener:
        monkeypatch.setattr(sockets, "_peer_uid", lambda connection: os.getuid() + 1)
        with pytest.raises(PermissionError, match="belongs to another user"):
            SocketSidecar(path, 0)
        users = iter([os.getuid() + 1, os.getuid()])
        monkeypatch.setattr(sockets, "_peer_uid", lambda connection: next(users))
        with socket.socket(socket.AF_UNIX) as own:
            own.connect(str(path))  # behind the client above, whose connection is taken for another user's
            with sockets.accept(listener) as accepted:
                accepted.sendall(b"1")
            assert own.recv(1) == b"1"


def test_nobody_listens(path):
    with pytest.raises(SidecarFailed, match="no server is listening there"):
        connect(path)


def test_calls_through_a_socket_one_connection_after_the_other(server, path):
    for value in (1, 2):
        with connect(path) as calls:
            np.testing.assert_array_equal(ask(calls, value), np.tile(np.float32([3 * value, value]), (2, 1)))
    end = time.monotonic() + 10
    while keeps_memory(server.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not keeps_memory(server.pid)


def keeps_memory(pid):
    """Whether a process holds a descriptor of shared arrays."""
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(os.readlink(entry))
    return any("rpd_jax-arrays" in name for name in names)


def test_a_client_that_talks_nonsense_does_not_end_the_server(server, path):
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"m"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(nonsense)
    with socket.socket(socket.AF_UNIX) as client, open(os.devnull) as file:
        client.connect(str(path))
        socket.send_fds(client, [b"m"], [file.fileno()])
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with connect(path) as calls:
        ask(calls, 1)


def test_a_server_that_was_restarted_is_found_again(server, path):
    with connect(path) as calls:
        ask(calls, 1)
        server.send_signal(signal.SIGKILL)
        server.wait(10)
        with start_server_over(path) as second:
            np.testing.assert_array_equal(ask(calls, 2)[0], [6, 2])
            assert calls.metrics()["restarts"] >= 1
            second.send_signal(signal.SIGINT)
            second.wait(10)
    assert not path.exists()


def start_server_over(path):
    """Starts a server where a dead one left its socket, and waits until it listens."""
    server = start_server(path)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
                return server
            except (ConnectionRefusedError, FileNotFoundError):
                time.sleep(0.05)
    raise AssertionError("the server does not listen")
