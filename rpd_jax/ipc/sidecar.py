"""The child's side of `process.SidecarProcess`: answer requests, and never outlive the parent."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from rpd_jax.ipc.messages import Channel, ConnectionClosed, Message, error_reply

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
    """Answers requests until the parent closes the connection, ends, or asks for `shutdown`.

    Besides the handlers, "ping" is answered. What a handler raises is printed here and raised there.
    Interrupts are ignored: the parent decides.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments, _ = parser.parse_known_args(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(arguments.parent)
    channel = Channel(socket.socket(fileno=arguments.socket))
    with contextlib.suppress(ConnectionClosed):
        while (request := channel.receive()).kind != "shutdown":
            channel.send(_answer(handlers, request))


def _answer(handlers: Mapping[str, Handler], request: Message) -> Message:
    try:
        if request.kind == "ping":
            return Message("pong", request.sequence)
        if request.kind not in handlers:
            raise ValueError(f"unknown request {request.kind!r}, need one of {sorted(handlers)}")
        return Message("reply", request.sequence, handlers[request.kind](request.fields) or {})
    except Exception as error:
        traceback.print_exc()
        return error_reply(error, request.sequence)
