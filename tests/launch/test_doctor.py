"""The doctor from end to end, and each of its looks where something is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import checks, doctor
from launch.checks import Check
from launch.vulkan_driver import Probe


def run_doctor(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.doctor", *flags]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)


@pytest.mark.vulkan
def test_a_complete_machine_is_told_so(tmp_path: Path) -> None:
    done = run_doctor(f"--directory={tmp_path}", f"--json={tmp_path / 'doctor.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything needed is here" in done.stdout
    outcome = json.loads((tmp_path / "doctor.json").read_text())
    assert outcome["ok"] is True
    assert [check["name"] for check in outcome["checks"]] == [
        "python",
        "jax",
        "batched initialisers",
        "vulkan",
        "simulator",
        "shared memory",
        "run directory",
        "video",
    ]


def test_something_needed_that_fails_ends_with_status_1_and_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    looks = [
        lambda: Check("good", True, "fine"),
        lambda: Check("extra", False, "not there", "do without", needed=False),
        lambda: Check("bad", False, "broken", "mend it"),
    ]
    monkeypatch.setattr(doctor, "all_checks", lambda directory: looks)
    doctor.flags.FLAGS(["doctor", f"--json={tmp_path / 'doctor.json'}"])
    with pytest.raises(SystemExit) as stopped:
        doctor.main(["doctor"])
    assert stopped.value.code == "needs attention: bad"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "missing", "what", "FAILED", "what"]
    assert lines[-1].strip() == "what to do: mend it"
    assert json.loads((tmp_path / "doctor.json").read_text())["ok"] is False


def test_what_is_missing_but_not_needed_does_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "all_checks", lambda directory: [lambda: Check("x", False, "", "", needed=False)])
    doctor.flags.FLAGS(["doctor", "--json="])
    doctor.main(["doctor"])
    assert "everything needed is here" in capsys.readouterr().out


def test_a_directory_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**kwargs: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(checks.tempfile, "TemporaryFile", refuse)
    check = checks.run_directory(tmp_path / "not" / "there" / "yet")
    assert not check.ok and "run.directory" in check.advice


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = checks.shutil.disk_usage(tmp_path)._replace(free=checks.MIN_FREE - 1)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    assert not checks.run_directory(tmp_path).ok


def test_too_little_shared_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(checks.os, "posix_fallocate", refuse)
    check = checks.shared_memory()
    assert not check.ok and "no space" in check.detail


def test_vulkan_problems_come_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.vulkan_driver, "probe", lambda: Probe((), "no driver"))
    check = checks.vulkan()
    assert not check.ok and check.detail == "no driver" and "mesa-vulkan-drivers" in check.advice


def test_a_hanging_or_failing_child_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(checks.Failed, match="no answer within 1 s"):
        checks._child("import time; time.sleep(60)", timeout=1)
    with pytest.raises(checks.Failed, match="exit status 1: ValueError: why"):
        checks._child("raise ValueError('why')", timeout=60)
    monkeypatch.setattr(checks, "INITIALISERS", "raise SystemExit('stuck')")
    check = checks.initialisers()
    assert not check.ok and "unset NPROC" in check.advice
    monkeypatch.setattr(checks, "_STEP", "import a_package_that_is_not_there")
    assert "a_package_that_is_not_there" in checks.simulator().detail
