"""What the doctor looks at. What could crash or hang is done in a child process, under a time-out."""

from __future__ import annotations

import dataclasses
import math
import mmap
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rpd_jax import runtime
from rpd_jax.config.extras import EXTRAS, how_to_get, missing
from rpd_jax.launch import accelerators, vulkan
from rpd_jax.launch.child import Failed, run_python

MIN_FREE = 1 << 30  # bytes, for checkpoints and videos
MIN_MEMORY = 1 << 30  # bytes; quickstart takes about as much
SHARED = 64 << 20  # bytes, about what 64 environments with frames of 256 x 256 share

_DEVICES = """
import jax
kinds = [d.device_kind for d in jax.devices()]
print(f"jax {jax.__version__}, {jax.default_backend()}: {len(kinds)} x {kinds[0]}")
"""

_STEP = """
import gymnasium, mani_skill, mani_skill.envs
env = gymnasium.make(
    "PickCube-v1", num_envs=1, obs_mode="state", sim_backend="physx_cpu", render_backend="sapien_cpu",
    control_mode="pd_ee_delta_pose",
)
env.reset(seed=0)
observation = env.step(env.action_space.sample())[0]
size = observation.shape[-1]
print(f"mani_skill {mani_skill.__version__}, PickCube-v1 stepped, observations of {size} numbers")
"""


@dataclasses.dataclass(frozen=True)
class Check:
    """The outcome of one look; `advice` says what to do where it is not `ok`."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
    needed: bool = True


@dataclasses.dataclass(frozen=True)
class Look:
    """Something to look at: `see` says what it found, or raises whatever is wrong with it."""

    name: str
    see: Callable[[], str]
    advice: str
    needed: bool = True

    def take(self) -> Check:
        try:
            return Check(self.name, True, self.see(), needed=self.needed)
        except Failed as error:
            return Check(self.name, False, str(error), error.advice or self.advice, self.needed)
        except OSError as error:
            return Check(self.name, False, str(error), self.advice, self.needed)
        except Exception as error:
            return Check(self.name, False, f"{type(error).__name__}: {error}", self.advice, self.needed)


def all_looks(directory: Path) -> list[Look]:
    """The looks to take, in order; `directory` is where runs will be written.

    What an extra needs besides its packages is looked at only where they are installed.
    """
    looks = [
        Look("python", lambda: f"{platform.python_version()} on {platform.system()}", "install Python 3.11 or newer"),
        Look(
            "jax",
            lambda: run_python(_DEVICES, 120),
            "pip install rpd_jax in this environment; JAX_PLATFORMS=cpu leaves a broken accelerator out",
        ),
        Look("accelerator", accelerators.look, "JAX_PLATFORMS=cpu says that an accelerator is to be left alone"),
        Look("memory", memory, "end other programs, or train fewer members and environments at once"),
        Look(
            "run directory",
            lambda: run_directory(directory),
            "name a directory that you may write to, with 1 GiB free: --config.run.directory=PATH",
        ),
        Look(
            "video",
            video,
            "pip install imageio-ffmpeg, or do without videos: --config.eval.videos=0",
            needed=False,
        ),
        Look(
            "shared memory",
            shared_memory,
            f"simulators and models in processes of their own need Linux and {SHARED >> 20} MiB of free memory; "
            "tabletop's tasks and what is written in JAX do without",
            needed=sys.platform == "linux",
        ),
    ]
    if not missing("maniskill"):
        looks += [
            Look("vulkan", vulkan.probe, vulkan.WHAT_TO_INSTALL),
            Look("simulator", lambda: run_python(_STEP, 180), "see vulkan above, or pip install 'rpd_jax[maniskill]'"),
        ]
    return looks


def extras() -> list[Check]:
    """Every extra: that it is there, or how to get it. Of those of a CUDA each, the one that suits this machine."""
    found, other_cudas = [], {f"cuda{cuda}" for cuda in accelerators.CUDA} - {accelerators.extra()}
    for name, extra in EXTRAS.items():
        if name in other_cudas:
            continue
        absent = missing(name)
        command = f": {how_to_get(name)}" if absent else ""
        found.append(Check(f"[{name}]", not absent, f"{extra.purpose}{command}", needed=False))
    return found


def memory() -> str:
    """What there is, or Failed where it is too little for any run."""
    available = runtime.available_memory()
    if not math.isfinite(available):
        return f"{runtime.available_cores()} cores; this system does not say how much memory is available"
    detail = f"{available / 2**30:.1f} GiB available, {runtime.available_cores()} cores"
    if available < MIN_MEMORY:
        raise Failed(detail)
    return detail


def shared_memory() -> str:
    """Writes to as much anonymous shared memory as a large run takes."""
    if not hasattr(os, "memfd_create"):
        raise Failed("this system has no memfd_create")
    descriptor = os.memfd_create("rpd_jax-doctor")
    try:
        os.posix_fallocate(descriptor, 0, SHARED)
        with mmap.mmap(descriptor, SHARED) as memory:
            memory[-1] = 1
    finally:
        os.close(descriptor)
    return f"{SHARED >> 20} MiB written"


def run_directory(directory: Path) -> str:
    """Writes a file to the nearest directory that exists already."""
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.is_dir())
    with tempfile.TemporaryFile(dir=existing) as file:
        file.write(b"rpd_jax")
    free = shutil.disk_usage(existing).free
    detail = f"{directory} is writable, {free / 2**30:.1f} GiB free"
    if free < MIN_FREE:
        raise Failed(detail)
    return detail


def video() -> str:
    import imageio_ffmpeg

    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}"
