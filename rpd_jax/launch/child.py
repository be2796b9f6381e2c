"""Small programs in a child process: what could crash or hang is tried there, without harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class Failed(Exception):
    """What was tried did not work; the message says why, in one line, and `advice` what to do, where that is known."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


def run_python(program: str, timeout: float) -> str:
    """The last line that a program prints; raises Failed if it fails or takes more than `timeout` seconds."""
    command = [sys.executable, "-c", program]
    root = Path(__file__).resolve().parents[2]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=root, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {timeout:.0f} s") from None
    if child.returncode != 0:
        words = child.stderr.strip().splitlines() or ["no message"]
        raise Failed(f"exit status {child.returncode}: {words[-1]}")
    return (child.stdout.strip().splitlines() or [""])[-1]
