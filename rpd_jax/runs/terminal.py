"""The terminal that a program writes to: its width, and log lines that stand above a progress bar."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from absl import logging as absl_logging


def columns(stream: TextIO) -> int:
    """Width of the terminal behind a stream: COLUMNS if set, else what the terminal says; 80 where it does not know."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    with contextlib.suppress(OSError, ValueError):  # no terminal, or no file at all
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80


@contextlib.contextmanager
def logs_above(bar: Any) -> Iterator[None]:
    """While the block runs, what logging writes to the terminal is written above tqdm's bar, whole lines at a time."""
    previous = [(handler, handler.stream) for handler in _handlers()]
    above = _Above(bar)
    for handler, _ in previous:
        handler.setStream(above)
    try:
        yield
    finally:
        for handler, stream in previous:
            handler.setStream(stream)


class _Above:
    """A stream whose texts tqdm writes above its bars."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def write(self, text: str) -> None:
        self._bar.write(text, file=self._bar.fp, end="")

    def flush(self) -> None:
        self._bar.fp.flush()


def _handlers() -> list[logging.StreamHandler]:
    """Those of the root logger and absl's that write to this process's terminal."""
    absl = absl_logging.get_absl_handler()
    found = [absl.python_handler if handler is absl else handler for handler in logging.root.handlers]
    streams = (sys.stderr, sys.stdout)
    return [each for each in found if isinstance(each, logging.StreamHandler) and each.stream in streams]
