"""A connection that is made anew when it breaks, and asked again."""

from __future__ import annotations

import threading

import numpy as np

from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.supervised import SidecarFailed
from teachers.remote.adapters import Adapter, Address, Connection, Fields

CONNECT_S = 10.0


class PolicyServerFailed(SidecarFailed):
    """Nobody answers at the address, or not in time, again and again."""


class Line:
    """One connection to a policy server. A question changes nothing there, so one that got lost is asked again.

    Use it from one thread at a time, but for `close`.
    """

    def __init__(self, adapter: Adapter, address: Address, limits: Limits) -> None:
        """Connects.

        Args:
          adapter: what is spoken there.
          address: of the server.
          limits: `deadline_s` for an answer; `start_deadline_s` for the first one, where `ask` is told so; the pauses
            between attempts, and how many there may be in a row.

        Raises:
          PolicyServerFailed: nobody answers there; no second attempt is made.
        """
        self._adapter, self._address, self._limits = adapter, address, limits
        self._closed = threading.Event()
        self.reconnects = 0
        try:
            self._connection: Connection | None = self._connect()
        except OSError as error:
            raise self._failed("cannot be reached", error) from error

    def ask(self, fields: Fields, *, first: bool = False) -> np.ndarray:
        """The server's answer, an action [A] or a chunk [horizon, A].

        Raises:
          PolicyServerFailed: it did not answer, and further attempts failed as well (`first`: none is made).
          RemoteError: the server's own error.
          ProtocolError: it does not speak this protocol.
        """
        failures = 0
        while True:
            try:
                connection = self._connection
                if connection is None:
                    connection = self._connection = self._connect()
                    self.reconnects += 1
                if self._closed.is_set():
                    raise ConnectionError("this teacher was closed")
                return connection.ask(fields, self._limits.start_deadline_s if first else self._limits.deadline_s)
            except OSError as error:
                self._drop()
                failures += 1
                if first or self._closed.is_set() or failures > self._limits.max_restarts:
                    raise self._failed(
                        f"failed {failures} times in a row" if failures > 1 else "failed", error
                    ) from error
                self._closed.wait(min(self._limits.backoff_s * 2 ** (failures - 1), self._limits.max_backoff_s))
            except BaseException:
                self._drop()  # some servers hang up after an error
                raise

    def close(self) -> None:
        """Ends the connection, also under another thread's `ask`. Idempotent."""
        self._closed.set()
        self._drop()

    def _connect(self) -> Connection:
        return self._adapter.connect(self._address, min(CONNECT_S, self._limits.deadline_s))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _failed(self, how: str, error: Exception) -> PolicyServerFailed:
        return PolicyServerFailed(
            f"the {self._adapter.name} policy server at {self._address.url} {how}, with {type(error).__name__}: {error}"
        )
