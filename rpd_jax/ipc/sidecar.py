"""The server side: requests of one connection, in turn. A child never outlives its parent."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rpd_jax.ipc.messages import HEARTBEAT, Channel, ConnectionClosed, Message, VersionMismatch, error_reply

_PR_SET_PDEATHSIG = 1

Handler = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Takes the fields of a request and gives those of its reply."""


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, even if it is stuck in native code or stopped.

    Relies on the parent starting it from a thread that lives as long (see `process._start`).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answers the process that started this one (`process.SidecarProcess`) until it ends or asks for `shutdown`.

    With `--heartbeat=SECONDS` on the command line, see `answer`. Interrupts are ignored: the parent decides.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--heartbeat", type=float, default=0.0)
    arguments, _ = parser.parse_known_args(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(arguments.parent)
    answer(Channel(socket.socket(fileno=arguments.socket)), handlers, arguments.heartbeat)


def answer(channel: Channel, handlers: Mapping[str, Handler], heartbeat_s: float = 0.0) -> None:
    """Answers requests until the far side closes the connection or asks for `shutdown`.

    Besides the handlers, "ping" is answered. What a handler raises is printed here and raised there.

    Args:
      channel: to the far side.
      handlers: by the kind of request.
      heartbeat_s: while a handler works, a heartbeat is sent so often (a handler that keeps the interpreter lock
        stops it); 0: never.
    """
    with contextlib.suppress(ConnectionClosed), _heart(channel, heartbeat_s) as working:
        try:
            while (request := channel.receive()).kind != "shutdown":
                with working:
                    reply = _reply(handlers, request)
                channel.send(reply)
        except VersionMismatch as error:
            channel.send(error_reply(error, 0))  # in a frame of our version, by which the far side knows it too
            raise


class _Working:
    """Entered while a request is worked on; leaving waits until no heartbeat is being sent."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = False

    def __enter__(self) -> None:
        self.now = True

    def __exit__(self, *unused: object) -> None:
        with self.lock:
            self.now = False


@contextlib.contextmanager
def _heart(channel: Channel, every_s: float) -> Iterator[_Working]:
    working, stopped = _Working(), threading.Event()

    def beat() -> None:
        while not stopped.wait(every_s):
            with working.lock, contextlib.suppress(ConnectionClosed):
                if working.now:
                    channel.send(Message(HEARTBEAT))

    thread = threading.Thread(target=beat, name="rpd_jax-heartbeat", daemon=True)
    if every_s > 0:
        thread.start()
    try:
        yield working
    finally:
        stopped.set()


def _reply(handlers: Mapping[str, Handler], request: Message) -> Message:
    try:
        if request.kind == "ping":
            return Message("pong", request.sequence)
        if request.kind not in handlers:
            raise ValueError(f"unknown request {request.kind!r}, need one of {sorted(handlers)}")
        return Message("reply", request.sequence, handlers[request.kind](request.fields) or {})
    except (Exception, SystemExit) as error:  # a library that calls sys.exit ends its request, not the process
        traceback.print_exc()
        return error_reply(error, request.sequence)
