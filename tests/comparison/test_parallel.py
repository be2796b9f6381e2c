"""Several cases at a time: in processes of this machine, and on a Ray cluster."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from rpd_jax.comparison.runner import in_processes
from rpd_jax.config.teacher import RayPlacement
from rpd_jax.launch.on_ray import on_ray

PROGRAM = """
import pathlib, sys
case = sys.argv[-1].removeprefix("--case=")
pathlib.Path(case).write_text("done")
sys.exit(3 if case == "odd" else 0)
"""


def test_every_case_runs_and_the_worst_status_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_processes(["one", "two", "three"], 2, [sys.executable, "-c", PROGRAM]) == 0
    assert in_processes(["one", "odd"], 1, [sys.executable, "-c", PROGRAM]) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two", "three", "odd"}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_cases_run_on_ray_in_this_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert on_ray(["one", "odd"], [sys.executable, "-c", PROGRAM], RayPlacement(cpus=0.5)) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"one", "odd"}
