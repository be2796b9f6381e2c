"""Processes that tests start: the launchers as a person runs them, small programs, and whether one has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter in the repository's root, with more variables of the environment if given."""
    everything = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=everything, capture_output=True, text=True, timeout=250, check=False
    )


def launch(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs one of the launchers."""
    return run("-m", f"launch.{program}", *arguments, **environment)


def refusal(program: str, *arguments: str) -> str:
    """What a launcher says of arguments that it must refuse, on stderr, with status 2 and no traceback."""
    done = launch(program, *arguments)
    assert done.returncode == 2 and not done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


def wait_until_gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process ends in time, or is a zombie that somebody else has to reap."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
