"""A connection to a policy server that reconnects when it breaks, and repeats its request."""

from __future__ import annotations

import threading
import time

import numpy as np
from absl import logging

from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import ProtocolError, RemoteError
from rpd_jax.ipc.text import described, one_line
from rpd_jax.types import TeacherError
from teachers.remote.adapters import Adapter, Address, Connection, Fields, NotReady

CONNECT_S = 10.0


class PolicyServerFailed(TeacherError):
    """No server answers at the address in time, or not as such servers do, after several attempts."""


class Line:
    """One connection to a policy server. Requests change nothing there, so a lost one is repeated.

    Use it from one thread at a time, but for `close`.
    """

    def __init__(self, adapter: Adapter, address: Address, limits: Limits) -> None:
        """Connects.

        Args:
          adapter: what is spoken there.
          address: of the server.
          limits: `deadline_s` for an answer; `start_deadline_s` for a server to become ready, and for the first answer
            where `ask` is told so; the pauses between attempts, and how many there may be in a row.

        Raises:
          PolicyServerFailed: nobody, or another kind of server, answers there; no second attempt is made.
        """
        self._adapter, self._address, self._limits = adapter, address, limits
        self._name = f"the {adapter.name} policy server at {address.url}"
        self._closed = threading.Event()
        self.reconnects = 0
        try:
            self._connection: Connection | None = self._connect()
        except OSError as error:
            raise self._failed(f"cannot be reached, with {described(error)}") from error
        except (RemoteError, ProtocolError) as error:
            raise self._wrong(error) from error

    def ask(self, fields: Fields, *, first: bool = False) -> np.ndarray:
        """The server's answer, an action [A] or a chunk [horizon, A].

        A loss of the server, and its recovery, are logged.

        Raises:
          PolicyServerFailed: it did not answer, and further attempts failed as well (`first`: none is made); its own
            error; or an answer that is none of its protocol.
        """
        limits, began, failures = self._limits, time.monotonic(), 0
        while True:
            try:
                connection = self._connection
                if connection is None:
                    connection = self._connection = self._connect()
                    self.reconnects += 1
                if self._closed.is_set():
                    raise ConnectionError("this teacher was closed")
                deadline_s = limits.start_deadline_s if first else limits.deadline_s
                answer = connection.ask(fields, deadline_s, limits.start_deadline_s)
            except OSError as error:
                self._drop()
                failures += 1
                pause = limits.pause_after(failures)
                if first or self._closed.is_set() or isinstance(error, NotReady) or pause is None:
                    how = f"failed {failures} times in a row" if failures > 1 else "failed"
                    raise self._failed(f"{how}, with {described(error)}") from error
                if failures == 1:
                    logging.warning(
                        "%s did not answer (%s): it is asked again, at most %d times",
                        *(self._name, described(error), limits.max_restarts),
                    )
                self._closed.wait(pause)
            except (RemoteError, ProtocolError) as error:
                self._drop()  # some servers hang up after an error
                raise self._wrong(error) from error
            except BaseException:
                self._drop()
                raise
            else:
                if failures:
                    seconds = time.monotonic() - began
                    logging.warning("%s answers again, after %d failures and %.1f s", self._name, failures, seconds)
                return answer

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

    def _failed(self, how: str) -> PolicyServerFailed:
        return PolicyServerFailed(f"{self._name} {how}")

    def _wrong(self, error: RemoteError | ProtocolError) -> PolicyServerFailed:
        what = "raised" if isinstance(error, RemoteError) else "is not understood:"
        return self._failed(f"{what} {one_line(error)}")
