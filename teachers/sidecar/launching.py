"""How a teacher's process is started, or the socket of one that was started by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rpd_jax.ipc.peer import Sidecar
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.ipc.sockets import SocketSidecar


@dataclasses.dataclass(frozen=True)
class Replica:
    """One process that serves the teacher.

    Attributes:
      module: its main program calls `server.serve_model`.
      arguments: of its command line.
      python: the interpreter, perhaps of another virtual environment; None: this one.
      environment: further variables, such as CUDA_VISIBLE_DEVICES.
      cpus: processor cores that it may use; None: all.
      log: file for its output; None: kept for error messages only.
      heartbeat_s: how often it says that it is alive while it works.
    """

    module: str
    arguments: tuple[str, ...] = ()
    python: str | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cpus: tuple[int, ...] | None = None
    log: Path | None = None
    heartbeat_s: float = 1.0

    def start(self, descriptor: int) -> Sidecar:
        """Starts the process, which shares a descriptor of memory. Raises OSError."""
        return SidecarProcess(
            self.module,
            arguments=[f"--heartbeat={self.heartbeat_s}", *self.arguments],
            python=self.python,
            environment=self.environment,
            descriptors=[descriptor],
            cpus=self.cpus,
            log=self.log,
            name=f"teacher process {self.module}",
        )


@dataclasses.dataclass(frozen=True)
class Listening:
    """A server at a named socket: `python -m launch.serve_teacher`."""

    path: Path

    def start(self, descriptor: int) -> Sidecar:
        """Connects. Raises ConnectionError where nobody listens."""
        return SocketSidecar(self.path, descriptor)
