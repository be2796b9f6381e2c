"""Small, versioned messages between two processes of one machine, over a Unix stream socket.

A frame is a header (magic, protocol version, length of the body) and a msgpack body [kind, sequence, fields]:
plain data only, so nothing that arrives can run code. Arrays do not belong here; see `arrays.py`.
"""

from __future__ import annotations

import dataclasses
import select
import socket
import struct
import time
import traceback
from typing import Any

import msgpack

from rpd_jax.ipc.text import one_line, printable

PROTOCOL_VERSION = 1
MAX_MESSAGE_BYTES = 1 << 20
ERROR = "error"  # the kind of a reply that carries an exception
HEARTBEAT = "heartbeat"  # the kind of a message that says only that the far side is alive

_MAGIC = b"rpdm"
_HEADER = struct.Struct("!4sHI")
_PACKER_BYTES = 1024  # that msgpack begins with; its default is a quarter of a megabyte for every message
_MAX_TEXT = 64_000  # characters of a traceback


class ProtocolError(RuntimeError):
    """The far side sent something that is not a message of this protocol version."""


class VersionMismatch(ProtocolError):
    """The far side speaks another version of this protocol: starting it again would not help."""


class ConnectionClosed(ConnectionError):
    """The far side is gone."""


class RemoteError(RuntimeError):
    """An exception of the far side, in one line; its traceback there is a note. Neither holds control characters."""

    def __init__(self, type_name: str, message: str, remote_traceback: str = ""):
        self.type_name, self.message = one_line(type_name), one_line(message)
        self.remote_traceback = printable(remote_traceback)
        super().__init__(f"{self.type_name}: {self.message}")
        if remote_traceback:
            self.add_note(f"--- traceback of the other process ---\n{self.remote_traceback}")


@dataclasses.dataclass(frozen=True)
class Message:
    """What one frame carries. A reply has the sequence number of its request."""

    kind: str
    sequence: int = 0
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)

    def get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """The field `name`, which must be of type `kind`; otherwise ProtocolError."""
        if name not in self.fields:
            raise ProtocolError(f"message {self.kind!r}: field {name!r} is missing")
        value = self.fields[name]
        if not isinstance(value, kind):
            raise ProtocolError(f"message {self.kind!r}: field {name!r} has type {type(value).__name__}")
        return value


def encode(message: Message, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """The frame of a message. Raises ValueError for fields that are not plain data, or are too many."""
    try:
        body = msgpack.packb(
            [message.kind, message.sequence, message.fields], use_bin_type=True, buf_size=_PACKER_BYTES
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"message {message.kind!r}: fields must be plain data: {error}") from error
    if len(body) > max_bytes:
        raise ValueError(f"message {message.kind!r}: {len(body)} bytes exceed the limit of {max_bytes}")
    return _HEADER.pack(_MAGIC, PROTOCOL_VERSION, len(body)) + body


def decode(body: bytes) -> Message:
    """The message in a frame's body. Raises ProtocolError."""
    try:
        parts = msgpack.unpackb(body, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises many types, and all of them mean the same here
        raise ProtocolError(f"message body is not msgpack: {error}") from error
    match parts:
        case [str(kind), int(sequence), dict(fields)] if all(isinstance(name, str) for name in fields):
            return Message(kind, sequence, fields)
    raise ProtocolError(f"message body must be [kind, sequence, fields], got {type(parts).__name__}")


def error_reply(error: BaseException, sequence: int) -> Message:
    """The reply that makes the far side raise RemoteError."""
    text = "".join(traceback.format_exception(error))
    fields = {
        "type": type(error).__name__,
        "message": str(error)[:_MAX_TEXT],
        "traceback": text[-_MAX_TEXT:],
    }
    return Message(ERROR, sequence, fields)


def raise_if_error(message: Message) -> Message:
    """The message itself, or RemoteError where it carries an exception."""
    if message.kind == ERROR:
        raise RemoteError(message.get("type", str), message.get("message", str), message.get("traceback", str))
    return message


class Channel:
    """One end of a connection. Not for several threads at once.

    A receive that runs into its deadline keeps what it got: a later one goes on from there.
    """

    def __init__(self, connection: socket.socket, max_bytes: int = MAX_MESSAGE_BYTES):
        self._socket = connection
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, timeout_s: float | None = None) -> None:
        """Sends a message.

        Raises:
          ConnectionClosed: the far side is gone.
          TimeoutError: it does not read; the connection is of no use after this.
          ValueError: see `encode`.
        """
        frame = encode(message, self._max_bytes)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(frame)
        except TimeoutError:
            raise TimeoutError(f"message {message.kind!r} not sent within {timeout_s} s") from None
        except OSError as error:
            raise ConnectionClosed(f"cannot send {message.kind!r}: {error}") from None

    def receive(self, timeout_s: float | None = None) -> Message:
        """The next message (errors of the far side included, as messages).

        Raises:
          ConnectionClosed: the far side is gone, between two messages.
          ProtocolError: it broke off inside a message, or this is no message of this version and size.
          TimeoutError: nothing complete arrived in time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        header = self._take(_HEADER.size, deadline, timeout_s, consume=False)
        magic, version, length = _HEADER.unpack(header)
        if magic != _MAGIC:
            raise ProtocolError(f"bad magic {bytes(magic)!r}: the far side does not speak this protocol")
        if version != PROTOCOL_VERSION:
            raise VersionMismatch(f"protocol version {version} of the far side, {PROTOCOL_VERSION} here")
        if length > self._max_bytes:
            raise ProtocolError(f"message of {length} bytes exceeds the limit of {self._max_bytes}")
        return decode(self._take(_HEADER.size + length, deadline, timeout_s, consume=True)[_HEADER.size :])

    def close(self) -> None:
        self._socket.close()

    def _take(self, size: int, deadline: float | None, timeout_s: float | None, consume: bool) -> bytes:
        while len(self._buffer) < size:
            remaining_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1e3
            if not self._readable.poll(remaining_ms):
                raise TimeoutError(f"no message within {timeout_s} s")
            try:
                chunk = self._socket.recv(max(4096, size - len(self._buffer)))
            except OSError as error:
                raise ConnectionClosed(f"cannot receive: {error}") from None
            if not chunk:
                if self._buffer:
                    raise ProtocolError(f"connection ended after {len(self._buffer)} of {size} bytes")
                raise ConnectionClosed("the far side closed the connection")
            self._buffer += chunk
        data = bytes(self._buffer[:size])
        if consume:
            del self._buffer[:size]
        return data
