"""Accelerators against the jax that is installed: whether JAX can use what the machine has, and what mends it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from packaging.requirements import Requirement

from rpd_jax.launch.child import Failed, run_python

CUDA = (13, 12)  # those that jax has plugins for and we have extras for, the newest first
PARTS = {cuda: (f"jax-cuda{cuda}-plugin", f"jax-cuda{cuda}-pjrt") for cuda in CUDA}
PACKAGES = ("jax", "jaxlib", *(name for parts in PARTS.values() for name in parts))
DRIVER = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)")  # the longer name since driver 610


class Misfit(NamedTuple):
    """What does not fit among jax's packages, and what mends it."""

    what: str
    advice: str


def look() -> str:
    """What JAX computes on, in words; raises Failed where it leaves a GPU unused, or its packages do not fit."""
    found, gpus, driver = installed(), nvidia_gpus(), driver_cuda()
    if problem := misfit(found, asked(), driver):
        raise Failed(problem.what, problem.advice)
    plugins = [name for name in found if name.endswith("-plugin")]
    said = f"{plugins[0]} {found[plugins[0]]}" if plugins else "no CUDA plugin"
    if not gpus:
        return f"no NVIDIA GPU here, {said}: JAX computes on the CPU"
    backend = run_python("import jax; print(jax.default_backend())", 120)
    names = f"{len(gpus)} x {gpus[0]}"
    if backend == "cpu" and os.environ.get("JAX_PLATFORMS", "") != "cpu":
        raise Failed(f"{names}, {said}, but JAX computes on the CPU", advice(driver))
    return f"{names}, {said}: JAX computes on the {'CPU, as JAX_PLATFORMS says' if backend == 'cpu' else 'GPU'}"


def advice(driver: tuple[int, int] | None) -> str:
    """How to have JAX compute on a GPU whose driver is of this version of CUDA."""
    if driver and driver[0] < min(CUDA):
        return f"install a newer NVIDIA driver: JAX needs one of CUDA {min(CUDA)}, yours is of {driver[0]}.{driver[1]}"
    return (
        f"pip install 'rpd_jax[cuda{cuda_for(driver)}]', which brings the plugin of jax's own version; "
        "JAX_PLATFORMS=cpu says that the GPU is to be left alone"
    )


def installed() -> dict[str, str]:
    """The versions of jax's packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def asked() -> dict[str, Requirement]:
    """What rpd_jax asks of jax, and jax of jaxlib, as their metadata have it; by the name of what is asked for."""
    found: dict[str, Requirement] = {}
    for package, needs in (("rpd_jax", "jax"), ("jax", "jaxlib")):
        try:
            lines = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found |= {each.name: each for each in map(Requirement, lines) if each.name == needs and each.marker is None}
    return found


def misfit(
    found: Mapping[str, str], asked: Mapping[str, Requirement], driver: tuple[int, int] | None = None
) -> Misfit | None:
    """What does not fit among jax's packages: versions found, what is asked of them, the driver's version of CUDA."""
    cudas = [cuda for cuda in CUDA if PARTS[cuda][0] in found]
    if len(cudas) > 1:
        needless = next(cuda for cuda in CUDA if cuda != cuda_for(driver))
        both = " and ".join(PARTS[cuda][0] for cuda in cudas)
        return Misfit(
            f"{both} are both installed: JAX can have one of them", f"pip uninstall {' '.join(PARTS[needless])}"
        )
    jax, jaxlib = found.get("jax", "that is missing"), found.get("jaxlib", "that is missing")
    extra = f"[cuda{cudas[0]}]" if cudas else ""
    again = f"pip install 'jax{extra}=={jax}'"
    if "jax" in found and not _fits(found, asked, "jax"):
        wanted = asked["jax"].specifier
        return Misfit(f"jax {jax} is not what rpd_jax needs: {wanted}", f"pip install 'jax{extra}{wanted}'")
    if "jax" in found and not _fits(found, asked, "jaxlib"):
        return Misfit(f"jax {jax} does not fit jaxlib {jaxlib}: it needs {asked['jaxlib'].specifier}", again)
    for cuda in cudas:
        for name in PARTS[cuda]:
            if found.get(name) != jaxlib:
                return Misfit(f"{name} {found.get(name, 'that is missing')} does not fit jaxlib {jaxlib}", again)
        if driver and driver[0] < cuda:
            mend = f"pip uninstall {' '.join(PARTS[cuda])}, then {advice(driver)}"
            what = f"{PARTS[cuda][0]} needs a driver of CUDA {cuda}, yours is of {driver[0]}.{driver[1]}"
            return Misfit(what, mend)
    return None


def _fits(found: Mapping[str, str], asked: Mapping[str, Requirement], name: str) -> bool:
    if name not in asked:
        return True
    return name in found and asked[name].specifier.contains(found[name], prereleases=True)


def cuda_for(driver: tuple[int, int] | None) -> int:
    """The CUDA, among those that jax has plugins for, that suits a driver; the newest where there is none."""
    return next((cuda for cuda in CUDA if driver is None or driver[0] >= cuda), min(CUDA))


def extra() -> str:
    """The extra that brings jax's CUDA plugin: of the one that is installed, or else the driver's."""
    found = installed()
    cuda = next((cuda for cuda in CUDA if PARTS[cuda][0] in found), None)
    return f"cuda{cuda or cuda_for(driver_cuda())}"


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs whose driver answers."""
    return re.findall(r"^GPU \d+: (.*?) \(UUID", _nvidia_smi("-L"), re.MULTILINE)


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the NVIDIA driver can run, (major, minor); None without a driver that answers."""
    found = DRIVER.search(_nvidia_smi())
    return (int(found[1]), int(found[2])) if found else None


def _nvidia_smi(*arguments: str) -> str:
    """What nvidia-smi prints; "" where there is none, or it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
