"""Several cases at a time: in processes of this machine, and on a Ray cluster."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import ROOT, wait_until_gone

from rpd_jax.comparison import runner
from rpd_jax.comparison.runner import in_processes
from rpd_jax.config import Config
from rpd_jax.config.teacher import RayPlacement
from rpd_jax.launch.on_ray import on_ray
from rpd_jax.presets import get_preset

PROGRAM = """
import os, pathlib, sys
case = sys.argv[-1].removeprefix("--worker=")
pathlib.Path(case).write_text(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", ""))
sys.exit(3 if case == "odd" else 0)
"""


def test_every_case_runs_and_the_worst_status_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_processes(["one", "two", "three"], 2, [sys.executable, "-c", PROGRAM]) == 0
    assert in_processes(["one", "odd"], 1, [sys.executable, "-c", PROGRAM]) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "three", "odd"}


def test_cases_share_a_gpus_memory_unless_the_user_said_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    for given, share in ((None, "0.375"), ("0.2", "0.2")):
        if given is not None:
            monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", given)
        in_processes(["one", "two"], 2, [sys.executable, "-c", PROGRAM])
        assert [(tmp_path / case).read_text() for case in ("one", "two")] == [share, share]


WAITS = """
import pathlib, signal, sys, time
case = sys.argv[-1].removeprefix("--worker=")
signals = []
def note(number, frame):
    signals.append(number)
    pathlib.Path(case + ".told").write_text(str(len(signals)))
signal.signal(signal.SIGTERM, note)
pathlib.Path(case).write_text("started")
while not signals:
    time.sleep(0.02)
time.sleep(0.6)  # as long as it takes to save; a second signal would come within
sys.exit(143)
"""


def test_a_signal_at_the_very_end_of_a_run_stops_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a run is done and says nothing of the signal; the next one must not begin."""

    def train(config: Config, teacher: object, resume: bool) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(runner, "train", train)
    config = get_preset("debug")
    config.run.directory = str(tmp_path / "run")
    with pytest.raises(runner.Stopped, match="15"):
        runner.finish(config, lambda teacher: None)


def test_a_signal_is_passed_on_once_and_no_other_case_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = f"""
import os, signal, sys, threading, time
from pathlib import Path
from rpd_jax.comparison.runner import in_processes
def end():
    while not Path("one").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end).start()
sys.exit(in_processes(["one", "two"], 1, [sys.executable, "-c", {WAITS!r}]))
"""
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=100)
    assert done.returncode == 143
    assert (tmp_path / "one.told").read_text() == "1"
    assert not (tmp_path / "two").exists()


SLEEPS = """
import os, pathlib, sys, time
pathlib.Path("new").write_text(str(os.getpid()))
os.rename("new", "child")
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends them")
def test_a_killed_comparison_leaves_no_case_behind(tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from rpd_jax.comparison.runner import in_processes\n"
    program += f"in_processes(['one'], 1, [sys.executable, '-c', {SLEEPS!r}])"
    comparison = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "child").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    comparison.kill()
    comparison.wait()
    assert wait_until_gone(int((tmp_path / "child").read_text()))


DIES = """
import os, pathlib, signal, sys, time
if pathlib.Path("child").exists():
    pathlib.Path("done").write_text("done")
else:
    pathlib.Path("child").write_text(str(os.getpid()))
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_cases_run_on_ray_in_this_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert on_ray(["one", "odd"], [sys.executable, "-c", PROGRAM], RayPlacement(cpus=0.5)) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"one", "odd"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_case_whose_worker_is_killed_ends_and_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert on_ray(["one"], [sys.executable, "-c", DIES], RayPlacement(cpus=0.5)) == 0
    assert (tmp_path / "done").exists()
    assert wait_until_gone(int((tmp_path / "child").read_text()))  # it does not train on beside the second
