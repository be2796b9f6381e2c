"""Which processes are started for the OpenVLA teacher, or which server is asked; none is started here."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arm_spec import arm_spec

from rpd_jax.config import Config, ConfigError, TeacherConfig
from teachers.base import load
from teachers.openvla.processes import replicas
from teachers.openvla.settings import FRAMES, PROMPTS
from teachers.sidecar.launching import Listening

ENV = arm_spec(frame_shape=(16, 16, 3))
Made = Callable[..., tuple[list[Any], dict[str, Any]]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes a teacher of a run's settings; gives the processes that it would have and its other arguments."""
    found: list[tuple[list[Any], dict[str, Any]]] = []
    monkeypatch.setattr(
        "teachers.sidecar.teacher.SidecarTeacher", lambda env, servers, **options: found.append((servers, options))
    )

    monkeypatch.setattr("teachers.openvla.server.look.look", lambda path, **options: None)

    def make(**values: Any) -> tuple[list[Any], dict[str, Any]]:
        load("openvla", ENV, **values)
        return found[-1]

    return make


def where(monkeypatch: pytest.MonkeyPatch, inherited: str | None, *devices: str | int) -> list[tuple[Any, Any]]:
    """The flags and variables of a process for each device."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    return [(each.arguments, dict(each.environment)) for each in replicas((), devices)]


def test_a_process_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = ("--device=cuda",)  # no falling back to the CPU
    assert where(monkeypatch, None, "cpu", "0", "1", 2) == [
        (("--device=cpu",), {}),
        (on_gpu, {"CUDA_VISIBLE_DEVICES": "0"}),
        (on_gpu, {"CUDA_VISIBLE_DEVICES": "1"}),
        (on_gpu, {"CUDA_VISIBLE_DEVICES": "2"}),
    ]
    assert where(monkeypatch, "3") == [((), {})]  # one, wherever it likes


@pytest.mark.parametrize(
    ("inherited", "device", "name"),
    [
        ("4,7", "1", "7"),
        ("GPU-2f0a, GPU-9c1b", "1", "GPU-9c1b"),
        ("MIG-11,MIG-12", "0", "MIG-11"),
        ("5,-1,6", "0", "5"),
    ],
)
def test_a_number_counts_the_gpus_that_the_learner_sees(
    monkeypatch: pytest.MonkeyPatch, inherited: str, device: str, name: str
) -> None:
    assert where(monkeypatch, inherited, device) == [(("--device=cuda",), {"CUDA_VISIBLE_DEVICES": name})]


@pytest.mark.parametrize(
    ("inherited", "device", "there"),
    [("4,7", "2", "GPUs 0 to 1"), ("5,-1,6", "1", "GPUs 0 to 0"), ("", "0", "no GPU"), ("-1", "0", "no GPU")],
)
def test_a_gpu_that_the_learner_does_not_see(
    monkeypatch: pytest.MonkeyPatch, inherited: str, device: str, there: str
) -> None:
    message = f"teacher.devices='{device}' cannot work: CUDA_VISIBLE_DEVICES='{inherited}' leaves {there}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        where(monkeypatch, inherited, device)


@pytest.mark.parametrize("device", ["cuda:1", "gpu", "0,1", "-1", "", "CPU", "1.0", "²", "GPU-2f0a"])
def test_what_is_no_device(device: str) -> None:
    message = f"""teacher.devices={device!r} is unknown: for each process need "cpu" or the number of a GPU"""
    for devices in ((device,), ("cpu", device), device):
        with pytest.raises(ValueError, match=re.escape(message)):
            replicas((), devices)


def test_output_and_cores(tmp_path: Path) -> None:
    log = str(tmp_path / "teacher.log")
    one = replicas((), ("cpu",), log=log, cpus=(0,))
    assert [(each.log, each.cpus) for each in one] == [(tmp_path / "teacher.log", (0,))]
    two = replicas((), ("cpu", "cpu"), log=log)
    assert [(each.log, each.cpus) for each in two] == [
        (tmp_path / "teacher.log.0", None),
        (tmp_path / "teacher.log.1", None),
    ]
    assert replicas((), ("cpu",))[0].log is None


def test_what_cannot_be_is_said_before_a_process_is_started(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    none = cores[-1] + 1
    for settings, message in (
        ({"cpus": (cores[0], none)}, f"{none} is no core that may be used, these are {cores}"),
        ({"log": str(tmp_path)}, "it must be a file in a directory that exists"),
        ({"log": str(tmp_path / "none" / "log")}, "it must be a file in a directory that exists"),
        ({"python": "/no/such/python"}, "teacher.python='/no/such/python' cannot work"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            replicas((), **settings)


def test_a_runs_settings_reach_the_process(made: Made, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    chosen = {"rows": 7, "cpus": (0,), "log": log, "frames": "libero", "python": sys.executable, "devices": ("cpu",)}
    (replica,), options = made(path="somewhere", contract="maniskill", **chosen)
    assert options["rows"] == 7
    assert {"--max-batch=7", "--frames=libero", "--device=cpu", "--dtype=bf16"} <= set(replica.arguments)
    assert (replica.cpus, replica.log, replica.python) == ((0,), Path(log), sys.executable)
    (replica,), options = made(path="somewhere", contract="maniskill")
    assert options["rows"] == 32 and "--max-batch=32" in replica.arguments
    assert not [each for each in replica.arguments if each.startswith(("--frames", "--device", "--center-crop"))]
    assert replica.cpus is replica.log is replica.python is None


def test_a_server_that_runs_has_its_settings_already(made: Made, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    assert made(socket=path, rows=4) == (
        [Listening(tmp_path / "socket")],
        {"rows": 4, "limits": made(socket=path)[1]["limits"]},
    )
    for name, value in (
        ("path", "somewhere"),
        ("base", "somewhere"),
        ("contract", "maniskill"),
        ("statistics_key", "bridge_orig"),
        ("dtype", "f32"),
        ("center_crop", True),
        ("frames", "libero"),
        ("prompt", "v01"),
        ("oft", "bridge"),
        ("samples", 2),
        ("std", 0.1),
        ("min_std", 0.2),
        ("python", sys.executable),
        ("devices", ("cpu",)),
        ("cpus", (0,)),
        ("log", "log"),
    ):
        message = f"teacher.{name}={value!r} cannot be given with teacher.socket: the server has its model and settings"
        with pytest.raises(ValueError, match=re.escape(message)):
            made(socket=path, **{name: value})


def test_the_config_checks_them() -> None:
    from teachers.openvla.server.main import parse
    from teachers.openvla.server.prompts import TEMPLATES

    for values, message in (
        ({"rows": 0}, "teacher.rows=0 cannot work: it must be at least 1"),
        ({"dtype": "fp32"}, "teacher.dtype='fp32' is unknown: choose from bf16, f32, nf4; did you mean 'f32'"),
        ({"frames": "libro"}, "teacher.frames='libro' is unknown: choose from libero; did you mean 'libero'"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            Config(teacher=TeacherConfig(name="openvla", **values)).validate()
    for frames in FRAMES:
        assert parse(["--checkpoint=somewhere", f"--frames={frames}"]).frames == frames
    assert parse(["--checkpoint=somewhere"]).prompt is None
    for prompt in PROMPTS:
        assert parse(["--checkpoint=somewhere", f"--prompt={prompt}"]).prompt == prompt
    assert set(TEMPLATES) == set(PROMPTS)
    assert parse(["--checkpoint=somewhere"]).max_batch == TeacherConfig(name="openvla").rows
