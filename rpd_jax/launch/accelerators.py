"""Accelerators against the jax that is installed: whether JAX can use what the machine has."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Mapping

from rpd_jax.launch.child import Failed, run_python

PACKAGES = ("jax", "jaxlib", *(f"jax-cuda{cuda}-{part}" for cuda in (12, 13) for part in ("plugin", "pjrt")))
ADVICE = (
    "pip install 'rpd_jax[gpu]', which brings the plugin of jax's own version; JAX_PLATFORMS=cpu says that the GPU is "
    "to be left alone"
)


def look() -> str:
    """What JAX computes on, in words; raises Failed where it leaves a GPU unused, or its packages do not fit."""
    found, gpus = installed(), nvidia_gpus()
    if problem := misfit(found):
        raise Failed(problem)
    plugins = [name for name in found if name.endswith("-plugin")]
    said = f"{plugins[0]} {found[plugins[0]]}" if plugins else "no CUDA plugin"
    if not gpus:
        return f"no NVIDIA GPU here, {said}: JAX computes on the CPU"
    backend = run_python("import jax; print(jax.default_backend())", 120)
    names = f"{len(gpus)} x {gpus[0]}"
    if backend == "cpu" and os.environ.get("JAX_PLATFORMS", "") != "cpu":
        raise Failed(f"{names}, {said}, but JAX computes on the CPU")
    return f"{names}, {said}: JAX computes on the {'CPU, as JAX_PLATFORMS says' if backend == 'cpu' else 'GPU'}"


def installed() -> dict[str, str]:
    """The versions of jax's packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def misfit(found: Mapping[str, str]) -> str:
    """What does not fit among jax's packages, given their versions; "" where all do."""
    plugins = [name for name in found if name.endswith("-plugin")]
    if len(plugins) > 1:
        return f"{' and '.join(plugins)} are both installed: JAX can have one of them"
    for name in found:
        if "cuda" in name and found[name] != found.get("jaxlib"):
            return f"{name} {found[name]} does not fit jaxlib {found.get('jaxlib', 'that is missing')}"
    return ""


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs whose driver answers."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU \d+: (.*?) \(UUID", done.stdout, re.MULTILINE)
