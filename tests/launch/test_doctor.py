"""The doctor from end to end, and each of its looks where something is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from children import launch

from rpd_jax.config.extras import EXTRAS
from rpd_jax.launch import accelerators, checks, doctor
from rpd_jax.launch.checks import Look
from rpd_jax.launch.child import Failed


@pytest.mark.vulkan
def test_a_complete_machine_is_told_so(tmp_path: Path) -> None:
    done = launch("doctor", f"--directory={tmp_path}", f"--json={tmp_path / 'doctor.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything needed is here" in done.stdout
    outcome = json.loads((tmp_path / "doctor.json").read_text())
    assert outcome["ok"] is True
    names = [check["name"] for check in outcome["checks"]]
    assert names[:9] == [
        "python",
        "jax",
        "accelerator",
        "memory",
        "run directory",
        "video",
        "shared memory",
        "vulkan",
        "simulator",
    ]
    other = {"cuda12", "cuda13"} - {accelerators.extra()}
    assert names[9:] == [f"[{extra}]" for extra in EXTRAS if extra not in other]


def test_what_no_extra_asks_for_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `make quickstart` nothing is wrong: ManiSkill is optional, and so is its Vulkan device."""
    monkeypatch.setitem(sys.modules, "mani_skill", None)
    names = [look.name for look in checks.all_looks(tmp_path)]
    assert "vulkan" not in names and "simulator" not in names
    (maniskill,) = (check for check in checks.extras() if check.name == "[maniskill]")
    assert not maniskill.needed and doctor.describe(maniskill) == (
        "optional  [maniskill]     ManiSkill's tasks, env.name=maniskill:TASK: pip install 'rpd_jax[maniskill]'"
    )


def refuse(error: Exception) -> Callable[..., NoReturn]:
    def raise_it(*args: object, **kwargs: object) -> NoReturn:
        raise error

    return raise_it


def run_with(looks: list[Look], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(doctor, "all_looks", lambda directory: looks)
    monkeypatch.setattr(doctor, "extras", list)
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
    assert [line.split()[0] for line in lines] == ["ok", "optional", "what", "FAILED", "what"]
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
        ("shared memory", "os.posix_fallocate", OSError("no space"), "no space", "need Linux"),
        ("vulkan", "vulkan.run_python", Failed("no driver"), "no driver", "mesa-vulkan-drivers"),
        ("simulator", "run_python", Failed("no mani_skill"), "no mani_skill", "maniskill"),
    ],
)
def test_what_fails_is_reported_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, broken: str, error: Exception, detail: str, advice: str
) -> None:
    monkeypatch.setattr(checks, "missing", lambda extra: [])
    monkeypatch.setattr(f"rpd_jax.launch.checks.{broken}", refuse(error))
    (look,) = (look for look in checks.all_looks(tmp_path / "not" / "there" / "yet") if look.name == name)
    check = look.take()
    assert not check.ok and check.detail.endswith(detail) and advice in check.advice


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = checks.shutil.disk_usage(tmp_path)._replace(free=checks.MIN_FREE - 1)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Failed, match="GiB free"):
        checks.run_directory(tmp_path)


def test_too_little_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.runtime, "available_memory", lambda: 0.5 * 2**30)
    with pytest.raises(Failed, match=r"0\.5 GiB available"):
        checks.memory()
    monkeypatch.setattr(checks.runtime, "available_memory", lambda: float("inf"))
    assert "does not say" in checks.memory()


def test_shared_memory_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(checks.os, "memfd_create")
    with pytest.raises(Failed, match="no memfd_create"):
        checks.shared_memory()
