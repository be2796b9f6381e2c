"""What runs where there is no Linux: nothing of it needs what only Linux has (simulators in processes do)."""

from __future__ import annotations

from children import ROOT, run

# Stands in for macOS, as far as Python's standard library differs there.
ELSEWHERE = """
import fcntl, os, socket
missing = {
    os: ("sched_getaffinity", "sched_setaffinity", "memfd_create", "posix_fallocate", "pidfd_open"),
    fcntl: ("F_ADD_SEALS", "F_SEAL_SHRINK", "F_SEAL_GROW"),
    socket: ("SO_PEERCRED",),
}
for module, names in missing.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
TRAINS = """
import numpy as np
import rpd_jax as rj
from rpd_jax.config import EnvConfig
from teachers.settings import teacher_factory

env = rj.make_env(EnvConfig("tabletop:PickCube-v1"), [0, 1], rgb=False, end_on_success=True)
env.reset()
assert env.step(np.zeros((2, 7), np.float32)).reward.shape == (2,)
config = rj.get_preset("debug")
config.algorithm.total_steps = 160
print(rj.train(config, teacher_factory(config.teacher), directory=None).table)
"""


def test_tabletop_and_training_run_without_what_only_linux_has() -> None:
    done = run("-c", ELSEWHERE + TRAINS)
    assert done.returncode == 0, done.stderr
    assert "rpd-mse" in done.stdout


def test_cores_are_counted_in_one_place() -> None:
    """macOS has no sched_getaffinity: `runtime.cores` knows what to do there."""
    files = [path for folder in ("rpd_jax", "teachers") for path in (ROOT / folder).rglob("*.py")]
    asking = {str(path.relative_to(ROOT)) for path in files if "sched_getaffinity" in path.read_text()}
    assert asking == {"rpd_jax/runtime.py"}


def test_programs_are_spawn_safe() -> None:
    """A process that multiprocessing spawns imports the main module anew: that must not run it again."""
    done = run("-c", "import rpd_jax.launch.__main__, rpd_jax.launch.train")
    assert done.returncode == 0 and done.stdout == "", done.stderr
