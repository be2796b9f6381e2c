"""What an adapter is: how to connect to one kind of policy server, and how to query it."""

from __future__ import annotations

import dataclasses
import math
import socket
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from rpd_jax.ipc.messages import ProtocolError

Fields = Mapping[str, np.ndarray | str]
"""One observation, under the names that the server has for its parts: frames uint8 [H, W, 3], numbers [D], text."""

NUMBERS = "biuf"
"""The kinds of dtype that an action or an observation has: truth values, integers, floats."""


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a policy server listens."""

    url: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str, schemes: Sequence[str]) -> Address:
        """Reads "scheme://host:port". Raises ValueError for anything else; there is no default host or port."""
        wrong = ValueError(f"teacher.address={url!r}: need scheme, host and port, e.g. {schemes[0]}://127.0.0.1:8000")
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme not in schemes or not parts.hostname or not port or parts.username is not None:
            raise wrong
        return cls(url, parts.hostname, port)

    def open(self, timeout_s: float) -> socket.socket:
        """A TCP connection to this host and port and nowhere else. Raises OSError."""
        connection = socket.create_connection((self.host, self.port), timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class NotReady(TimeoutError):
    """The server answers, and says that its model is not loaded yet, for longer than anybody wants to wait."""


class Connection(Protocol):
    """One connection to a server, which answers one request at a time. What it raises is one line."""

    def ask(self, fields: Fields, timeout_s: float, ready_s: float | None = None) -> np.ndarray:
        """The policy's answer to an observation: an action [A] or a chunk of actions [horizon, A], as it came.

        Args:
          fields: the observation.
          timeout_s: for the answer.
          ready_s: before that, for a server that can say so to become ready; None: as long as for the answer.

        Raises:
          OSError: the connection broke, (TimeoutError) no answer came in time, or (NotReady) it did not become ready.
          RemoteError: the server's own error, of whatever type: a peer's SystemExit is no reason to end.
          ProtocolError: the answer is not what this protocol's servers answer.
        """
        ...

    def close(self) -> None:
        """Idempotent; may be called from another thread, whose `ask` then fails."""
        ...


@dataclasses.dataclass(frozen=True)
class Adapter:
    """One kind of policy server.

    Attributes:
      name: of the protocol.
      schemes: of its addresses.
      request: what it is sent where the user does not say; see `request.Request`.
      encode: the message that an observation is; raises ValueError where the protocol has no such names.
      connect: (address, timeout in seconds) -> Connection; raises OSError where there is no such server.
    """

    name: str
    schemes: Sequence[str]
    request: Sequence[str]
    encode: Callable[[Fields], object]
    connect: Callable[[Address, float], Connection]


def array_from(data: object, dtype: object, shape: object, kinds: str = NUMBERS) -> np.ndarray:
    """An array from its bytes, as a message holds them: read-only, in C order.

    Args:
      data: its bytes.
      dtype: as `np.dtype.str` writes it.
      shape: of the array; empty for a single value.
      kinds: the kinds of dtype that are expected.

    Raises:
      ProtocolError: no such array.
    """
    try:
        if not isinstance(data, bytes) or not isinstance(dtype, str) or not isinstance(shape, (list, tuple)):
            raise TypeError("need bytes, the name of a dtype, and a shape")
        kind, sizes = np.dtype(dtype), [int(size) for size in shape]
        if kind.kind not in kinds or min(sizes, default=0) < 0 or math.prod(sizes) * kind.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes are no {dtype} of shape {sizes}")
        return np.frombuffer(data, kind).reshape(sizes)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"an array that is none: {error}") from None
