"""A comparison whose whole command is killed says in the end what an undisturbed one says."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import ROOT

TABLES = ("report.md", "table.csv", "table.tex")


def _start(output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "launch.compare", "--experiment=smoke", f"--output={output}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_kills_change_nothing_in_the_tables(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert _start(tmp_path / "undisturbed").wait() in (0, 3)
    whole = time.monotonic() - begun

    moments = random.Random(2026)
    for _ in range(3):  # together less than the whole: the command is never done when it is killed
        child = _start(tmp_path / "killed")
        time.sleep(moments.uniform(0.15, 0.33) * whole)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    assert _start(tmp_path / "killed").wait() in (0, 3)

    for name in TABLES:
        expected = (tmp_path / "undisturbed" / name).read_text()
        assert (tmp_path / "killed" / name).read_text() == expected.replace("undisturbed", "killed"), name
