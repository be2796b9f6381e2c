"""Progress: a bar on a terminal that log lines stand above, lines elsewhere, and what is expected of the rest."""

from __future__ import annotations

import fcntl
import io
import logging as stdlib_logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from children import ROOT

from rpd_jax.runs import progress, terminal
from rpd_jax.runs.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(progress.logging, "info", lambda text, *rest: found.append(text % rest))
    return found


def test_on_a_terminal_there_is_a_bar(lines: list[str]) -> None:
    stream = Terminal()
    with ProgressBar(4, initial=1, description="training", stream=stream) as bar:
        for _ in range(3):
            bar.update(1, {"ppo": 0.25})
    assert "training 4/4" in stream.getvalue() and "|##########|" in stream.getvalue()
    assert "ppo 0.25" in stream.getvalue()
    assert lines == []


def test_elsewhere_lines_come_at_intervals_with_the_time_left(lines: list[str]) -> None:
    clock, stream = Clock(), io.StringIO()
    with ProgressBar(20, initial=8, description="training", interval=15, stream=stream, clock=clock) as bar:
        for _ in range(4):  # 10 s each: lines after 20 s and 40 s
            clock.now += 10
            bar.update(1, {"ppo": 0.123456})
    assert lines == [
        "training 10/20, 0:20, 10 s each, 1:40 left  ppo 0.123",  # 2 units took 20 s, so 10 more take 100 s
        "training 12/20, 0:40, 10 s each, 1:20 left  ppo 0.123",
    ]
    assert stream.getvalue() == ""


def test_a_last_line_is_logged_at_the_end_and_once(lines: list[str]) -> None:
    clock = Clock()
    bar = ProgressBar(2, description="training", stream=io.StringIO(), clock=clock)
    clock.now = 3.0
    bar.update()
    bar.update()
    bar.close()
    bar.close()
    assert lines == ["training 2/2, 0:03, 1.5 s each, 0:00 left"]


def test_a_run_stopped_before_its_first_unit_logs_no_time_left(lines: list[str]) -> None:
    with ProgressBar(5, description="training", stream=io.StringIO(), clock=Clock()):
        pass
    assert lines == ["training 0/5, 0:00"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01"), (1e6, "12 days")]
)
def test_durations_read_as_a_clock_shows_them(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_what_comes_once_is_not_expected_again() -> None:
    clock, compiled = Clock(), Clock()
    bar = ProgressBar(10, stream=io.StringIO(), clock=clock, once=compiled)
    assert bar.pace is None and bar.left is None
    clock.now, compiled.now = 30.0, 28.0
    bar.update(2)
    assert bar.pace == 1.0 and bar.left == 8.0


def resize(descriptor: int, columns: int) -> None:
    """A terminal's size as the kernel keeps it; 0 columns where nobody told it, as under many programs."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))


def seen_on_a_terminal(command: list[str], columns: int, cwd: Path = ROOT) -> str:
    """All that a program writes to a pseudo-terminal of that width."""
    ours, theirs = pty.openpty()
    resize(theirs, columns)
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment)
    os.close(theirs)
    found = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                found.extend(part)
        except OSError:  # Linux's end of a pseudo-terminal whose program has ended
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert process.wait(timeout=250) == 0
    finally:
        process.kill()
        reader.join(timeout=10)
        os.close(ours)
    return found.decode().replace("\r\n", "\n")


def lines_left(text: str) -> list[str]:
    """What stands on the screen in the end: of each line what was written after the last return to its beginning."""
    return [re.sub(r"\x1b\[[A-Z]", "", line).rpartition("\r")[2].rstrip() for line in text.split("\n")]


LOGGING = """
import sys
from absl import app, logging
from rpd_jax.runs.progress import ProgressBar
def main(argv):
    with ProgressBar(3, description="counting") as bar:
        bar.say("compiling; a second start is quicker")
        for i in range(3):
            logging.error("line %d of the log", i)
            bar.update(1, {"ppo": 0.5})
    logging.error("after the bar")
app.run(main)
"""


@pytest.mark.parametrize("columns", [0, 40, 100])
def test_log_lines_do_not_tear_the_bar_at_any_width(columns: int) -> None:
    text = seen_on_a_terminal([sys.executable, "-c", LOGGING], columns)
    lines = lines_left(text)
    logged = [line for line in lines if "of the log" in line or "after" in line]
    assert [line.rpartition("] ")[2] for line in logged] == [
        *(f"line {i} of the log" for i in range(3)),
        "after the bar",
    ]
    assert all(line.startswith("E") and "counting" not in line for line in logged)
    (bar,) = (line for line in lines if line.startswith("counting"))
    assert bar.startswith("counting 3/3 ") and len(bar) <= (columns or 80)
    assert ("|" in bar) == (columns != 40)
    assert "compiling" in text


def test_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as stream:
        monkeypatch.delenv("COLUMNS", raising=False)
        resize(theirs, 0)
        assert terminal.columns(stream) == 80
        resize(theirs, 47)
        assert terminal.columns(stream) == 47
        monkeypatch.setenv("COLUMNS", "33")
        assert terminal.columns(stream) == 33
    monkeypatch.delenv("COLUMNS")
    assert terminal.columns(io.StringIO()) == 80


def test_handlers_get_their_streams_back(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = stdlib_logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(stdlib_logging.root, "handlers", [handler])
    with ProgressBar(1, stream=Terminal()) as bar:
        assert handler.stream is not sys.stderr
        stdlib_logging.getLogger("x").warning("said")
        bar.update()
    assert handler.stream is sys.stderr
