"""A supervised process beside the learner: started, queried with deadlines, and never left behind.

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
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from rpd_jax.ipc.messages import ConnectionClosed
from rpd_jax.ipc.peer import Peer
from rpd_jax.ipc.text import printable

_ROOT = Path(__file__).resolve().parents[2]  # the folder that `rpd_jax` is imported from


class SidecarProcess(Peer):
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
        cpus: Iterable[int] | None = None,
        log: Path | str | None = None,
        name: str | None = None,
    ):
        """Starts the process.

        Args:
          module: what to run with `python -m`; it must call `sidecar.serve`.
          arguments: for its command line.
          python: path of the interpreter; None means this one.
          environment: variables to set besides the inherited ones.
          descriptors: file descriptors to share; they keep their numbers in the child.
          cpus: numbers of the processor cores that it may use; None means those of this process.
          log: file to which its output and errors are appended; None keeps them in a file without a name.
          name: for error messages; None means the module's name.

        Raises:
          OSError: the interpreter cannot be started, `log` not written, or there are no such cores.
        """
        python = python or sys.executable
        self._log = _open_log(log)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [python, "-m", module, f"--socket={theirs.fileno()}", f"--parent={os.getpid()}", *arguments]
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": self._log,
            "stderr": self._log,
            "env": environment_for(python, environment or {}),
            "pass_fds": (theirs.fileno(), *descriptors),
            "start_new_session": True,
        }
        released = threading.Event()
        try:
            self._process = _start(command, options, released, cpus)
        except BaseException:
            ours.close()
            self._log.close()
            raise
        finally:
            theirs.close()
        super().__init__(ours, name or module)
        self._finalizer = weakref.finalize(self, _end, self._process, ours, self._log, released, os.getpid())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote to its output and error streams, without control characters."""
        if self._log.closed:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        start = max(0, size - 64_000)
        text = os.pread(self._log.fileno(), size - start, start).decode(errors="replace")
        return printable("\n".join(text.rstrip().splitlines()[-lines:]))

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


def environment_for(python: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment variables with which an interpreter finds this source tree, and `extra` ones."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **extra}
    # A source tree must be importable there too. Installed packages are left to the interpreter: another one
    # may have other versions of everything that lies beside an installed rpd_jax.
    if python == sys.executable or _ROOT.name not in ("site-packages", "dist-packages"):
        paths = [str(_ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _open_log(path: Path | str | None) -> IO[bytes]:
    if path is None:  # without a name: it goes when the last process that has it open goes
        return tempfile.TemporaryFile(prefix="rpd_jax-sidecar-")
    return open(path, "ab+")


def _start(
    command: list[str], options: dict[str, object], released: threading.Event, cpus: Iterable[int] | None
) -> subprocess.Popen:
    """Starts the process from a thread of its own that lives until `released` is set.

    The child asks the kernel to be killed when its parent ends, which Linux takes to mean the *thread* that
    started it: started from a caller's short-lived thread it would die for no reason.
    """
    started = threading.Event()
    outcome: list[subprocess.Popen | BaseException] = []

    def run() -> None:
        try:
            if cpus is not None:  # of this thread alone, and the child inherits it before it runs anything
                os.sched_setaffinity(0, cpus)
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
