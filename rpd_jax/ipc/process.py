"""A supervised process beside the learner: started, asked with deadlines, and never left behind.

The process runs `python -m module` (perhaps another interpreter) and serves requests with `sidecar.serve`.
It shares one end of a socket pair and the descriptors it is given; nothing listens on any address.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from rpd_jax.ipc.messages import Channel, ConnectionClosed, Message, raise_if_error

_ROOT = Path(__file__).resolve().parents[2]  # the folder that `rpd_jax` is imported from


class SidecarProcess:
    """One child process and the channel to it.

    It does not see the terminal's Ctrl-C (its own session), and dies with this process however that ends: see
    `sidecar.serve`. Use it from one thread at a time.
    """

    def __init__(
        self,
        module: str,
        *,
        arguments: Sequence[str] = (),
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        name: str | None = None,
    ):
        """Starts the process.

        Args:
          module: what to run with `python -m`; it must call `sidecar.serve`.
          arguments: for its command line.
          python: path of the interpreter; None means this one.
          environment: variables to set besides the inherited ones.
          descriptors: file descriptors to share; they keep their numbers in the child.
          name: for error messages; None means the module's name.

        Raises:
          OSError: the interpreter cannot be started.
        """
        self.name = name or module
        python = python or sys.executable
        self._sequence = 0
        # Without a name: it goes when the last process that has it open goes.
        self._log: IO[bytes] = tempfile.TemporaryFile(prefix="rpd_jax-sidecar-")  # noqa: SIM115
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [python, "-m", module, f"--socket={theirs.fileno()}", f"--parent={os.getpid()}", *arguments]
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": self._log,
            "stderr": self._log,
            "env": _environment(python, environment or {}),
            "pass_fds": (theirs.fileno(), *descriptors),
            "start_new_session": True,
        }
        released = threading.Event()
        try:
            self._process = _start(command, options, released)
        except BaseException:
            ours.close()
            self._log.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(ours)
        self._finalizer = weakref.finalize(self, _end, self._process, ours, self._log, released, os.getpid())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    def send(self, kind: str, fields: Mapping[str, object] | None = None) -> int:
        """Sends a request without waiting for its reply, and returns its sequence number.

        Raises:
          ConnectionClosed: the process is gone.
        """
        self._sequence += 1
        self._channel.send(Message(kind, self._sequence, dict(fields or {})), timeout_s=10.0)
        return self._sequence

    def receive(self, sequence: int, deadline_s: float | None = None) -> Message:
        """The reply to the request with this sequence number; replies to earlier ones are dropped.

        Raises:
          RemoteError: handling the request raised there.
          TimeoutError: no reply in time. The process goes on working on it: kill it, or receive again.
          ConnectionClosed, ProtocolError: the process is gone or out of step.
        """
        end = None if deadline_s is None else time.monotonic() + deadline_s
        while True:
            reply = self._channel.receive(None if end is None else max(0.0, end - time.monotonic()))
            if reply.sequence == sequence:
                return raise_if_error(reply)

    def call(self, kind: str, fields: Mapping[str, object] | None = None, deadline_s: float | None = None) -> Message:
        """`send` and `receive` in one."""
        return self.receive(self.send(kind, fields), deadline_s)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote to its output and error streams."""
        if self._log.closed:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        start = max(0, size - 64_000)
        text = os.pread(self._log.fileno(), size - start, start).decode(errors="replace")
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def kill(self) -> None:
        """Ends the process at once and reaps it; `log_tail` still answers. Idempotent."""
        _reap(self._process)

    def close(self, timeout_s: float = 2.0) -> None:
        """Asks the process to end, ends it by force if it does not, reaps it. Idempotent."""
        if self._finalizer.alive and self._process.poll() is None:
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                self.send("shutdown")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self._finalizer()

    def __enter__(self) -> SidecarProcess:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _environment(python: str, extra: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **extra}
    # A source tree must be importable there too. Installed packages are left to the interpreter: another one
    # may have other versions of everything that lies beside an installed rpd_jax.
    if python == sys.executable or _ROOT.name not in ("site-packages", "dist-packages"):
        paths = [str(_ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _start(command: list[str], options: dict[str, object], released: threading.Event) -> subprocess.Popen:
    """Starts the process from a thread of its own that lives until `released` is set.

    The child asks the kernel to be killed when its parent ends, which Linux takes to mean the *thread* that
    started it: started from a caller's short-lived thread it would die for no reason.
    """
    started = threading.Event()
    outcome: list[subprocess.Popen | BaseException] = []

    def run() -> None:
        try:
            outcome.append(subprocess.Popen(command, **options))  # type: ignore[call-overload]
        except BaseException as error:
            outcome.append(error)
            return
        finally:
            started.set()
        released.wait()

    threading.Thread(target=run, name="rpd_jax-sidecar", daemon=True).start()
    started.wait()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _reap(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen, ours: socket.socket, log: IO[bytes], released: threading.Event, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the owner: the sidecar is not its to end
        return
    _reap(process)
    released.set()
    ours.close()
    log.close()
