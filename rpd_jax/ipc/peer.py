"""The client end of a connection: requests with sequence numbers, replies with deadlines."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Protocol

from rpd_jax.ipc.messages import Channel, Message, raise_if_error


class Peer:
    """A process that answers requests with `sidecar.answer`, seen from here. Use it from one thread at a time."""

    def __init__(self, connection: socket.socket, name: str):
        self.name = name
        self._channel = Channel(connection)
        self._sequence = 0

    def send(self, kind: str, fields: Mapping[str, object] | None = None) -> int:
        """Sends a request without waiting for its reply, and returns its sequence number.

        Raises:
          ConnectionClosed: the process is gone.
        """
        self._sequence += 1
        self._channel.send(Message(kind, self._sequence, dict(fields or {})), timeout_s=10.0)
        return self._sequence

    def receive(self, sequence: int, deadline_s: float | None = None) -> Message:
        """The reply to the request with this sequence number; what else arrives before it is dropped.

        Raises:
          RemoteError: handling the request raised there.
          TimeoutError: no reply in time. The process goes on working on it: kill it, or receive again.
          ConnectionClosed, ProtocolError: the process is gone or out of step.
        """
        end = None if deadline_s is None else time.monotonic() + deadline_s
        while True:
            reply = self.receive_next(None if end is None else max(0.0, end - time.monotonic()))
            if reply.sequence == sequence:
                return raise_if_error(reply)

    def receive_next(self, timeout_s: float | None = None) -> Message:
        """Whatever arrives next: a reply, an error as a message, a heartbeat. Raises as `Channel.receive`."""
        return self._channel.receive(timeout_s)

    def call(self, kind: str, fields: Mapping[str, object] | None = None, deadline_s: float | None = None) -> Message:
        """`send` and `receive` in one."""
        return self.receive(self.send(kind, fields), deadline_s)


class Sidecar(Protocol):
    """What supervision needs of a peer: `process.SidecarProcess` and `sockets.SocketSidecar` have it."""

    name: str

    def send(self, kind: str, fields: Mapping[str, object] | None = None) -> int: ...

    def receive_next(self, timeout_s: float | None = None) -> Message: ...

    def call(
        self, kind: str, fields: Mapping[str, object] | None = None, deadline_s: float | None = None
    ) -> Message: ...

    def log_tail(self, lines: int = 20) -> str: ...

    def kill(self) -> None: ...

    def close(self, timeout_s: float = 2.0) -> None: ...
