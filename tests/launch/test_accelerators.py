"""What the doctor says about jax's packages and the NVIDIA driver, before stand-ins for both."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from children import ROOT
from packaging.requirements import Requirement

from rpd_jax.launch import accelerators, checks
from rpd_jax.launch.child import Failed
from rpd_jax.launch.doctor import describe

JAX = "0.10.2"
ASKED = {"jax": Requirement("jax<0.12,>=0.10"), "jaxlib": Requirement("jaxlib<=0.10.2,>=0.10.1")}
OLD_HEADER = "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4     |"
NEW_HEADER = "| NVIDIA-SMI 610.43.02   KMD Version: 610.43.02      CUDA UMD Version: 13.3 |"


def plugin(cuda: int, version: str = JAX) -> dict[str, str]:
    return {f"jax-cuda{cuda}-plugin": version, f"jax-cuda{cuda}-pjrt": version}


@pytest.mark.parametrize(
    ("versions", "driver", "what", "advice"),
    [
        ({"jax": "0.12.0", "jaxlib": "0.12.0"}, None, "jax 0.12.0 is not what", "pip install 'jax<0.12,>=0.10'"),
        ({"jax": JAX}, None, "does not fit jaxlib that is missing", "pip install 'jax==0.10.2'"),
        ({"jax": JAX, "jaxlib": "0.10.0"}, None, "it needs <=0.10.2,>=0.10.1", "pip install 'jax==0.10.2'"),
        (
            {"jax": JAX, "jaxlib": "0.11.0", **plugin(12, "0.11.0")},
            (12, 4),
            "jax 0.10.2 does not fit jaxlib 0.11.0",
            "pip install 'jax[cuda12]==0.10.2'",
        ),
        (
            {"jax": JAX, "jaxlib": JAX, **plugin(13, "0.10.1")},
            (13, 0),
            "jax-cuda13-plugin 0.10.1 does not fit jaxlib 0.10.2",
            "pip install 'jax[cuda13]==0.10.2'",
        ),
        (
            {"jax": JAX, "jaxlib": JAX, "jax-cuda13-plugin": JAX},
            (13, 0),
            "jax-cuda13-pjrt that is missing does not fit",
            "pip install 'jax[cuda13]==0.10.2'",
        ),
        (
            {"jax": JAX, "jaxlib": JAX, **plugin(13), **plugin(12)},
            (12, 4),
            "are both installed",
            "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt",
        ),
        (
            {"jax": JAX, "jaxlib": JAX, **plugin(13), **plugin(12)},
            (13, 0),
            "are both installed",
            "pip uninstall jax-cuda12-plugin jax-cuda12-pjrt",
        ),
        (
            {"jax": JAX, "jaxlib": JAX, **plugin(13)},
            (12, 4),
            "jax-cuda13-plugin needs a driver of CUDA 13, yours is of 12.4",
            "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt, then pip install 'rpd_jax[cuda12]'",
        ),
        ({"jax": JAX, "jaxlib": JAX, **plugin(12)}, (11, 8), "yours is of 11.8", "newer NVIDIA driver"),
    ],
)
def test_versions_that_do_not_fit(
    versions: dict[str, str], driver: tuple[int, int] | None, what: str, advice: str
) -> None:
    found = accelerators.misfit(versions, ASKED, driver)
    assert found is not None and what in found.what and advice in found.advice


@pytest.mark.parametrize(
    ("versions", "driver"),
    [
        ({"jax": JAX, "jaxlib": "0.10.1"}, None),
        ({"jax": JAX, "jaxlib": JAX, **plugin(13)}, (13, 3)),
        ({"jax": JAX, "jaxlib": JAX, **plugin(12)}, (13, 3)),  # newer drivers run older CUDA
        ({"jax": "0.11.0.dev20261101", "jaxlib": JAX}, None),
    ],
)
def test_versions_that_fit(versions: dict[str, str], driver: tuple[int, int] | None) -> None:
    assert accelerators.misfit(versions, ASKED, driver) is None


def test_what_is_installed_here_fits() -> None:
    asked = accelerators.asked()
    assert asked["jax"].specifier and asked["jaxlib"].specifier
    assert accelerators.misfit(accelerators.installed(), asked, accelerators.driver_cuda()) is None


def machine(path: Path, monkeypatch: pytest.MonkeyPatch, header: str, **versions: str) -> None:
    """Distributions of these versions before those that are installed, and a driver that answers with this header."""
    for name, version in versions.items():
        info = path / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
            + (f"Requires-Dist: jaxlib<={version},>={version}\n" if name == "jax" else "")
        )
    monkeypatch.setattr(sys, "path", [str(path), *sys.path])
    importlib.invalidate_caches()  # of the names of distributions too
    program = path / "nvidia-smi"
    listed = "GPU 0: NVIDIA H100 (UUID: GPU-0)"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && echo "{listed}" || echo "{header}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(path), prepend=":")


def said(monkeypatch: pytest.MonkeyPatch, backend: str = "cpu", platforms: str = "") -> str:
    """The doctor's line about the accelerator, and its advice."""
    monkeypatch.setattr(accelerators, "run_python", lambda program, timeout: backend)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    return describe(next(look for look in checks.all_looks(Path()) if look.name == "accelerator").take())


@pytest.mark.parametrize(("header", "cuda"), [(OLD_HEADER, 12), (NEW_HEADER, 13)])
def test_a_gpu_that_jax_leaves_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, cuda: int) -> None:
    machine(tmp_path, monkeypatch, header, jax=JAX, jaxlib=JAX)
    line = said(monkeypatch)
    assert line.startswith("FAILED") and "1 x NVIDIA H100, no CUDA plugin, but JAX computes on the CPU" in line
    assert f"what to do: pip install 'rpd_jax[cuda{cuda}]'" in line and accelerators.extra() == f"cuda{cuda}"
    assert "as JAX_PLATFORMS says" in said(monkeypatch, platforms="cpu")
    names = {check.name for check in checks.extras()}
    assert f"[cuda{cuda}]" in names and f"[cuda{25 - cuda}]" not in names


def test_a_plugin_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = {"jax": JAX, "jaxlib": JAX, "jax_cuda12_plugin": "0.10.1", "jax_cuda12_pjrt": "0.10.1"}
    machine(tmp_path, monkeypatch, NEW_HEADER, **mixed)
    assert said(monkeypatch).endswith("what to do: pip install 'jax[cuda12]==0.10.2'")
    assert accelerators.extra() == "cuda12"  # the one that was chosen, though the driver could do more
    fitting = {"jax_cuda12_plugin": JAX, "jax_cuda12_pjrt": JAX}
    machine(tmp_path / "mended", monkeypatch, NEW_HEADER, **fitting)
    assert said(monkeypatch, backend="gpu").endswith("jax-cuda12-plugin 0.10.2: JAX computes on the GPU")


def test_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators.driver_cuda() is None and accelerators.nvidia_gpus() == []
    monkeypatch.setattr(accelerators, "installed", lambda: {"jax": JAX, "jaxlib": JAX})
    monkeypatch.setattr(accelerators, "asked", dict)
    assert accelerators.look().startswith("no NVIDIA GPU here, no CUDA plugin")
    with pytest.raises(Failed, match="jax-cuda13-plugin"):
        monkeypatch.setattr(accelerators, "installed", lambda: {"jax": JAX, "jaxlib": JAX, "jax-cuda13-plugin": "1"})
        accelerators.look()


@pytest.mark.parametrize(
    ("header", "extra", "index"), [(OLD_HEADER, "cuda12", "whl/cu126"), (NEW_HEADER, "cuda13", ""), (None, "", "")]
)
def test_what_make_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str | None, extra: str, index: str
) -> None:
    """The driver decides as it does for the doctor's advice."""
    if header is None:
        (tmp_path / "nvidia-smi").symlink_to("/bin/false")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    else:
        machine(tmp_path, monkeypatch, header)
    command = ["make", "--dry-run", "install", f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    core, torch, rest = (line for line in printed.splitlines() if "pip install" in line)
    assert core.endswith(f"-e '.[{extra}]'" if extra else "-e '.'")
    assert rest.endswith(f"-e '.[maniskill,dev{extra and ','}{extra}]'")
    assert (index in torch and "--index-url" in torch) if index else "--index-url" not in torch
