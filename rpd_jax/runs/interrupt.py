"""SIGTERM, SIGINT and SIGHUP as a polite request: finish the iteration, save, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, MappingProxyType
from typing import Any

from absl import logging

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Set once a signal has asked the run to stop; a second SIGINT interrupts at once."""

    def __init__(self, previous: Mapping[int, Any] = MappingProxyType({})) -> None:
        self.signal: int | None = None
        self._previous = previous  # handlers by signal
        for handler in previous.values():
            if isinstance(handler, StopRequest) and handler:
                self.signal = handler.signal  # it came before this block began

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        logging.info("%s: stopping after this iteration", signal.Signals(number).name)
        if _is_own(self._previous[number]):
            self._previous[number](number, frame)


def exit_status(number: int) -> int:
    """What a program returns that a signal stopped, as shells say it: 143 after SIGTERM."""
    return 128 + number


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Collects signals while the block runs; outside the main thread they are left alone.

    A signal that the host program ignores (SIGHUP under nohup) stays ignored. A handler of the host program's own is
    called as well, and is in its place again afterwards; one that was not installed by Python is left alone. Within
    another such block a signal is for both, also one that came before the inner block began.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}
    request = StopRequest(previous)
    taken = [number for number, handler in previous.items() if handler not in (None, signal.SIG_IGN)]
    try:
        for number in taken:
            signal.signal(number, request)
        yield request
    finally:
        for number in taken:
            signal.signal(number, previous[number])


def _is_own(handler: Callable[..., Any] | int | None) -> bool:
    """Whether it is the host program's, not the system's default or Python's KeyboardInterrupt."""
    return callable(handler) and handler is not signal.default_int_handler and not isinstance(handler, int)
