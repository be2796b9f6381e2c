"""The doctor from end to end, and each of its looks where something is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from children import launch

from rpd_jax.launch import checks, doctor
from rpd_jax.launch.checks import Look
from rpd_jax.launch.child import Failed


@pytest.mark.vulkan
def test_a_complete_machine_is_told_so(tmp_path: Path) -> None:
    done = launch("doctor", f"--directory={tmp_path}", f"--json={tmp_path / 'doctor.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything needed is here" in done.stdout
    outcome = json.loads((tmp_path / "doctor.json").read_text())
    assert outcome["ok"] is True
    assert [check["name"] for check in outcome["checks"]] == [
        "python",
        "jax",
        "vulkan",
        "simulator",
        "shared memory",
        "run directory",
        "video",
    ]


def refuse(error: Exception) -> Callable[..., NoReturn]:
    def raise_it(*args: object, **kwargs: object) -> NoReturn:
        raise error

    return raise_it


def run_with(looks: list[Look], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(doctor, "all_looks", lambda directory: looks)
    doctor.flags.FLAGS(["doctor", *arguments])
    doctor.main(["doctor"])


def test_something_needed_that_fails_ends_with_status_1_and_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    looks = [
        Look("good", lambda: "fine", "nothing"),
        Look("extra", refuse(ValueError("not there")), "do without", needed=False),
        Look("bad", refuse(Failed("broken")), "mend it"),
    ]
    with pytest.raises(SystemExit) as stopped:
        run_with(looks, monkeypatch, f"--json={tmp_path / 'doctor.json'}")
    assert stopped.value.code == "needs attention: bad"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "missing", "what", "FAILED", "what"]
    assert lines[1].endswith("ValueError: not there") and lines[-1].strip() == "what to do: mend it"
    assert json.loads((tmp_path / "doctor.json").read_text())["ok"] is False


def test_what_is_missing_but_not_needed_does_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_with([Look("x", refuse(Failed("")), "", needed=False)], monkeypatch, "--json=")
    assert "everything needed is here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "broken", "error", "detail", "advice"),
    [
        ("run directory", "tempfile.TemporaryFile", PermissionError("no"), "no", "run.directory"),
        ("shared memory", "os.posix_fallocate", OSError("no space"), "no space", "memfd_create"),
        ("vulkan", "vulkan.run_python", Failed("no driver"), "no driver", "mesa-vulkan-drivers"),
        ("simulator", "run_python", Failed("no mani_skill"), "no mani_skill", "maniskill"),
    ],
)
def test_what_fails_is_reported_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: str, error: Exception, detail: str, advice: str
) -> None:
    monkeypatch.setattr(f"rpd_jax.launch.checks.{broken}", refuse(error))
    (look,) = (look for look in checks.all_looks(tmp_path / "not" / "there" / "yet") if look.name == name)
    check = look.take()
    assert not check.ok and check.detail.endswith(detail) and advice in check.advice


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = checks.shutil.disk_usage(tmp_path)._replace(free=checks.MIN_FREE - 1)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Failed, match="GiB free"):
        checks.run_directory(tmp_path)
