"""The processes of ManiSkill's simulators: what they import, how they end, and what is said where they cannot start."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

pytestmark = pytest.mark.vulkan

ROOT = Path(__file__).parents[2]
PROGRAM = """
    import sys, time
    import numpy as np
    from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv
    with ManiSkillVectorEnv("PushCube-v1", 2, [0, 1], processes=2) as env:
        env.reset()
        print(*[process.pid for process in env._pool.processes], flush=True)
        print([name for name in ("jax", "torch", "mani_skill") if name in sys.modules], flush=True)
        while True:
            env.step(np.zeros((2, 7)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_run_that_is_ended(number):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **options) as parent:
        pids = parent.stdout.readline().split()
        assert parent.stdout.readline().strip() == "[]", "the learner's process imported a simulator"
        assert len(pids) == 2
        for pid in pids:
            libraries = Path(f"/proc/{pid}/maps").read_text()
            assert "libtorch" in libraries
            assert "jaxlib" not in libraries
        parent.send_signal(number)
        parent.wait(20)
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/maps").exists() and alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_without_vulkan_the_error_says_what_to_do(monkeypatch):
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(name, "/nonexistent.json")
    with pytest.raises(RuntimeError, match=r"needs a Vulkan device .* rpd-jax doctor") as caught:
        ManiSkillVectorEnv("PushCube-v1", 1, [0])
    assert "\n" not in str(caught.value)
