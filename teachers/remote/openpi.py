"""openpi's policy servers: msgpack with arrays, over a websocket.

The same bytes on the wire as `openpi_client.websocket_client_policy` of the package openpi-client 0.1.2, which cannot
be installed beside numpy 2. The server greets with a map of metadata; each observation, a flat map, is answered by a
map whose "actions" are [horizon, A]; a text frame is the traceback of an error. Arrays are maps of bytes; no pickle.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import numpy as np

from rpd_jax.ipc.messages import ProtocolError, RemoteError
from rpd_jax.ipc.text import last_error, one_line
from teachers.remote.adapters import NUMBERS, Adapter, Address, Fields, array_from

MAX_ANSWER_BYTES = 64 << 20
SENDABLE = NUMBERS + "SUmM"  # texts and times may stand beside the actions, or in the greeting


class OpenpiConnection:
    """A websocket to a policy server."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        """Connects and takes the greeting. Raises OSError where no such server answers, ProtocolError."""
        try:
            from websockets.exceptions import ConnectionClosed, WebSocketException
            from websockets.sync.client import connect
        except ImportError as error:
            raise ValueError(
                f"teacher.protocol='openpi' needs websockets: pip install rpd_jax[openpi] ({error})"
            ) from None
        self._closed_error = ConnectionClosed
        self._stack = contextlib.ExitStack()
        try:
            # An open socket keeps proxies and redirects out. The servers do not answer pings while they compute.
            self._socket = self._stack.enter_context(
                connect(
                    address.url,
                    sock=address.open(timeout_s),
                    proxy=None,
                    compression=None,
                    max_size=MAX_ANSWER_BYTES,
                    open_timeout=timeout_s,
                    ping_interval=None,
                    close_timeout=1.0,
                )
            )
            self.metadata = self._greeting(timeout_s)
        except WebSocketException as error:
            self.close()
            raise ConnectionError(f"no websocket: {one_line(error)}") from error
        except BaseException:
            self.close()
            raise

    def ask(self, fields: Fields, timeout_s: float, ready_s: float | None = None) -> np.ndarray:
        """See `adapters.Connection`; these servers greet when they are ready."""
        try:
            self._socket.send(pack(fields))
        except self._closed_error as error:
            raise ConnectionError(f"it closed the connection: {one_line(error)}") from error
        answer = self._receive(timeout_s)
        actions = answer.get("actions")
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in NUMBERS:
            raise ProtocolError(f'an answer without an array "actions", but {one_line(sorted(map(str, answer)))}')
        return actions

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        self._stack.close()

    def _greeting(self, timeout_s: float) -> dict[Any, Any]:
        try:
            return self._receive(timeout_s)
        except TimeoutError:
            raise TimeoutError(
                f"a websocket, but no greeting within {timeout_s:g} s: is it an openpi server?"
            ) from None
        except RemoteError as error:
            raise ProtocolError(f"its greeting is a text, not a map of metadata: {error.message}") from None

    def _receive(self, timeout_s: float) -> dict[Any, Any]:
        try:
            frame = self._socket.recv(timeout=timeout_s)
        except TimeoutError:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from None
        except self._closed_error as error:
            raise ConnectionError(f"it closed the connection: {one_line(error)}") from error
        if isinstance(frame, str):
            raise RemoteError("PolicyError", last_error(frame) or frame, frame)
        return unpack(frame)


def pack(fields: Any) -> bytes:
    """A message of plain data and arrays."""
    return msgpack.packb(fields, default=_packed)


def unpack(frame: bytes) -> dict[Any, Any]:
    """The map in a message. Raises ProtocolError."""
    try:
        message = msgpack.unpackb(frame, object_hook=_unpacked)
    except ProtocolError:
        raise
    except Exception as error:  # msgpack raises many types, and all of them mean the same here
        raise ProtocolError(f"a frame that is not msgpack: {one_line(error)}") from error
    if not isinstance(message, dict):
        raise ProtocolError(f"a frame must hold a map, got {type(message).__name__}")
    return message


def _packed(value: Any) -> dict[bytes, Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in NUMBERS:
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise TypeError(f"cannot send {type(value).__name__}")


def _unpacked(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return array_from(value.get(b"data"), value.get(b"dtype"), value.get(b"shape"), SENDABLE)
    if b"__npgeneric__" in value:
        return value.get(b"data")
    return value


OPENPI = Adapter(
    name="openpi",
    schemes=("ws", "wss"),
    request=("observation/image=rgb", "prompt=instruction"),
    encode=pack,
    connect=OpenpiConnection,
)
