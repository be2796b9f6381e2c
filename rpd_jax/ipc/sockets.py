"""A sidecar that somebody started by hand, behind a named Unix socket that only the same user can reach.

For debugging: such a server can run under a debugger, and outlives the learner. The arrays' memory still has no name:
its descriptor is the first thing that is sent over the connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rpd_jax.ipc.messages import Channel, ConnectionClosed, ProtocolError
from rpd_jax.ipc.peer import Peer
from rpd_jax.ipc.sidecar import Handler, answer

_GREETING = b"m"  # carries the descriptor of the arrays' memory
_PATIENCE_S = 10.0  # for the greeting
_BACKLOG = 8  # connections that may wait
_MAX_PATH = 107  # bytes, of Linux


def listen(path: Path | str) -> socket.socket:
    """A listening socket of mode 0600 at `path`; its directory is made, or must be, the user's own and 0700.

    A socket that a dead server left there is replaced.

    Raises:
      ValueError: the path is too long, the directory is open to others, or `path` is something else than a socket.
      OSError: a server is listening there.
    """
    path = Path(path).absolute()
    if len(os.fsencode(path)) > _MAX_PATH:
        raise ValueError(f"socket {str(path)!r}: must have at most {_MAX_PATH} bytes")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = path.parent.stat()
    if directory.st_uid != os.getuid() or stat.S_IMODE(directory.st_mode) & 0o077:
        mode = stat.S_IMODE(directory.st_mode)
        raise ValueError(f"socket {str(path)!r}: its directory must be your own with mode 0700, it has {mode:04o}")
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody else can reach into the directory, so that the mode may follow.
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


Connected = Callable[[int], contextlib.AbstractContextManager[Mapping[str, Handler]]]
"""Takes the descriptor of a connection's memory and owns it; gives the handlers for as long as the connection lasts."""


def serve_socket(path: Path | str, connected: Connected, heartbeat_s: float = 1.0) -> None:
    """Answers one connection after the other until interrupted; `path` is removed at the end.

    Args:
      path: of the socket, see `listen`.
      connected: makes the handlers of a connection.
      heartbeat_s: see `sidecar.answer`.

    Raises: see `listen`.
    """
    with listen(path) as listener:
        try:
            while True:
                with accept(listener) as connection:
                    try:
                        with connected(_receive_descriptor(connection)) as handlers:
                            answer(Channel(connection), handlers, heartbeat_s)
                    except (ConnectionClosed, ProtocolError, TimeoutError) as error:
                        print(f"connection dropped: {error}", file=sys.stderr)
        finally:
            Path(path).unlink(missing_ok=True)


def accept(listener: socket.socket) -> socket.socket:
    """The next connection of a process of the same user; those of others are closed."""
    while True:
        connection, _ = listener.accept()
        if _peer_uid(connection) == os.getuid():
            return connection
        connection.close()


class SocketSidecar(Peer):
    """A connection to a server of `serve_socket`."""

    def __init__(self, path: Path | str, descriptor: int):
        """Connects and hands over the arrays' memory.

        Raises:
          ConnectionError: nobody listens there.
          PermissionError: the server belongs to another user.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE_S)
        try:
            try:
                connection.connect(str(path))
            except BlockingIOError:  # Linux's way to say that its queue is full
                raise ConnectionRefusedError(f"socket {str(path)!r}: the server is busy with others") from None
            except FileNotFoundError:
                raise ConnectionRefusedError(f"socket {str(path)!r}: no server is listening there") from None
            if _peer_uid(connection) != os.getuid():
                raise PermissionError(f"socket {str(path)!r}: the server belongs to another user")
            socket.send_fds(connection, [_GREETING], [descriptor])
        except BaseException:
            connection.close()
            raise
        super().__init__(connection, f"server at {path}")

    def log_tail(self, lines: int = 20) -> str:
        """Its output is where it was started."""
        return "(see the terminal of the server)"

    def kill(self) -> None:
        """Ends the connection; the server goes on. Idempotent."""
        self._channel.close()

    def close(self, timeout_s: float = 2.0) -> None:
        self.kill()


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ValueError(f"socket {str(path)!r}: something else has this name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"socket {str(path)!r}: another server is listening there")


def _peer_uid(connection: socket.socket) -> int:
    format_ = struct.Struct("3i")  # pid, uid, gid
    return format_.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, format_.size))[1]


def _receive_descriptor(connection: socket.socket) -> int:
    connection.settimeout(_PATIENCE_S)
    greeting, descriptors, _, _ = socket.recv_fds(connection, len(_GREETING), 1)
    if greeting != _GREETING or len(descriptors) != 1:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ConnectionClosed("it did not begin with a descriptor")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]
