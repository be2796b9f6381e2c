"""What the doctor looks at. What could crash or hang is done in a child process, under a time-out."""

from __future__ import annotations

import dataclasses
import mmap
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from launch import vulkan_driver
from rpd_jax import runtime

MIN_FREE = 1 << 30  # bytes, for checkpoints and videos
SHARED = 64 << 20  # bytes, about what 64 environments with frames of 256 x 256 share

_DEVICES = """
import jax
kinds = [d.device_kind for d in jax.devices()]
print(f"jax {jax.__version__}, {jax.default_backend()}: {len(kinds)} x {kinds[0]}")
"""

# Eight members initialise four orthogonal matrices at once, which waits for ever without the cure.
INITIALISERS = """
import os
os.environ["JAX_PLATFORMS"] = "cpu"
import jax, jax.numpy as jnp
from rpd_jax import runtime
runtime.configure()
orthogonal = jax.nn.initializers.orthogonal()
def initialise(key):
    return [orthogonal(k, (256, 256), jnp.float32) for k in jax.random.split(key, 4)]
jax.block_until_ready(jax.jit(jax.vmap(initialise))(jax.random.split(jax.random.key(0), 8)))
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


class Failed(Exception):
    """A child process did not do its work; the message is its last words."""


def all_checks(directory: Path) -> list[Callable[[], Check]]:
    """The looks to take, in order; `directory` is where runs will be written."""
    return [
        python,
        jax,
        initialisers,
        vulkan,
        simulator,
        shared_memory,
        lambda: run_directory(directory),
        video,
    ]


def python() -> Check:
    version = platform.python_version()
    return Check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def jax() -> Check:
    try:
        return Check("jax", True, _child(_DEVICES, 120))
    except Failed as error:
        advice = "pip install -e . in this environment; JAX_PLATFORMS=cpu leaves a broken accelerator out"
        return Check("jax", False, str(error), advice)


def initialisers() -> Check:
    """Whether the cure of `rpd_jax.runtime` is at work."""
    detail = f"{runtime.available_cores()} cores, NPROC={os.environ.get('NPROC', 'not set')}"
    try:
        _child(INITIALISERS, 90)
    except Failed as error:
        advice = f"unset NPROC, or set it to {runtime.MIN_POOL_THREADS} or more"
        return Check("batched initialisers", False, f"{detail}: {error}", advice)
    return Check("batched initialisers", True, detail)


def vulkan() -> Check:
    found = vulkan_driver.probe()
    if found.problem:
        return Check("vulkan", False, found.problem, vulkan_driver.WHAT_TO_INSTALL)
    return Check("vulkan", True, str(found))


def simulator() -> Check:
    try:
        return Check("simulator", True, _child(_STEP, 180))
    except Failed as error:
        advice = "pip install -e '.[maniskill]' if it is not there; otherwise see vulkan above"
        return Check("simulator", False, str(error), advice)


def shared_memory() -> Check:
    """Writes to as much anonymous shared memory as a large run takes."""
    try:
        descriptor = os.memfd_create("rpd_jax-doctor")
        try:
            os.posix_fallocate(descriptor, 0, SHARED)
            with mmap.mmap(descriptor, SHARED) as memory:
                memory[-1] = 1
        finally:
            os.close(descriptor)
    except (AttributeError, OSError) as error:
        advice = f"Linux with memfd_create and {SHARED >> 20} MiB of free memory is needed"
        return Check("shared memory", False, str(error), advice)
    return Check("shared memory", True, f"{SHARED >> 20} MiB written")


def run_directory(directory: Path) -> Check:
    """Writes a file to the nearest directory that exists already."""
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"rpd_jax")
        free = shutil.disk_usage(existing).free
    except OSError as error:
        advice = "name a directory that you may write to: --config.run.directory=PATH"
        return Check("run directory", False, str(error), advice)
    detail = f"{directory} is writable, {free / 2**30:.1f} GiB free"
    return Check("run directory", free >= MIN_FREE, detail, "free some space: a run may take 1 GiB")


def video() -> Check:
    try:
        import imageio_ffmpeg

        detail = f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}"
    except Exception as error:
        advice = "pip install imageio-ffmpeg, or do without videos: --config.eval.videos=0"
        return Check("video", False, f"{type(error).__name__}: {error}", advice, needed=False)
    return Check("video", True, detail)


def _child(program: str, timeout: float) -> str:
    """The last line that a program prints; raises Failed if it fails or takes more than `timeout` seconds."""
    command = [sys.executable, "-c", program]
    root = Path(__file__).resolve().parent.parent
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=root)
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {timeout:.0f} s") from None
    if child.returncode != 0:
        words = child.stderr.strip().splitlines() or [""]
        raise Failed(f"exit status {child.returncode}: {words[-1]}")
    return (child.stdout.strip().splitlines() or [""])[-1]
