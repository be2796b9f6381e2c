"""Control steps of LIBERO per CPU second, and its memory, against a plain loop around LIBERO's own environment.

    python -m benchmarks.libero --json=libero.json    # about six minutes on two cores; needs `make libero-env`
    python -m benchmarks.libero --quick

For no camera, one and two (256 x 256), and one and two processes: ours has four environments in each, which share a
simulator; the plain loops have one in each. They take turns; CPU seconds are of all threads of all processes (Mesa
draws in several), figures are medians, and a ratio is the median of the turns' ratios. Aims: `state_1_ratio` at least
1.5, ratios with cameras at least 1.0, `memory_ratio` (MB for each environment, ours / plain) at most 0.5.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np

from benchmarks import common
from rpd_jax.config import EnvConfig
from rpd_jax.envs.base import VectorEnv
from rpd_jax.envs.libero import tasks
from rpd_jax.envs.libero.suite import found
from rpd_jax.envs.registry import make_env

TASK = "Object/0"
ROWS = 4  # environments in a process
OBSERVATIONS = {"state": "state", "one_camera": "rgb", "two_cameras": "rgb+rgb_wrist"}


class Loops:
    """Plain loops, each in a process of its own."""

    def __init__(self, count: int, cameras: list[str]) -> None:
        group, number = tasks.parse(TASK)
        python = found()
        assert python is not None, "run `make libero-env` first"
        script = str(Path(__file__).with_name("libero_loop.py"))  # -I: this folder has a libero.py too
        self._processes = [
            subprocess.Popen(
                [python, "-I", script, group.benchmark, str(number), *cameras],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=os.environ | {"MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
            for _ in range(count)
        ]
        for process in self._processes:
            _line(process, "ready")

    def play(self, steps: int) -> tuple[float, float, float]:
        """(CPU seconds a step, wall seconds a step, MB of each environment)."""
        for process in self._processes:
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        told = [list(map(float, _line(process, "played").split())) for process in self._processes]
        cpu, wall, memory = zip(*told, strict=True)
        total = steps * len(told)
        return sum(cpu) / total, max(wall) / total, sum(memory) / len(memory)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[str], word: str) -> str:
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise RuntimeError(f"a plain loop ended with status {process.wait()}")


def play(env: VectorEnv, rng: np.random.Generator, steps: int) -> tuple[float, float, float]:
    """The same of ours, this process's share included; `steps` of each of its processes."""
    pids = [process.pid for process in env._pool.processes]
    before, start = sum(map(common.cpu_seconds, pids)) + time.process_time(), time.perf_counter()
    rounds = max(1, steps // ROWS)
    for _ in range(rounds):
        env.step(rng.uniform(-1, 1, (env.num_envs, 7)))
    total = rounds * env.num_envs
    cpu = sum(map(common.cpu_seconds, pids)) + time.process_time() - before
    resident = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    memory = resident * os.sysconf("SC_PAGESIZE") / 2**20 / env.num_envs
    return cpu / total, (time.perf_counter() - start) / total, memory


def compared(kind: str, processes: int, turns: int, steps: int) -> dict[str, float]:
    observation = OBSERVATIONS[kind]
    cameras = [tasks.CAMERAS[entry] for entry in observation.split("+") if entry in tasks.CAMERAS]
    config = EnvConfig(name=f"libero:{TASK}", observation=observation, processes=processes, max_episode_steps=200)
    env = make_env(config, range(ROWS * processes), rgb=bool(cameras), end_on_success=False)
    loops, rng = Loops(processes, cameras), np.random.default_rng(0)
    ours, plain = [], []
    try:
        env.reset()
        for turn in range(turns + 1):
            order = [0, 1] if turn % 2 else [1, 0]
            for which in order:
                (ours if which else plain).append(play(env, rng, steps) if which else loops.play(steps))
    finally:
        env.close()
        loops.close()
    del ours[0], plain[0]  # warm-up
    name = f"{kind}_{processes}"
    return {
        f"{name}_ratio": statistics.median(p[0] / o[0] for o, p in zip(ours, plain, strict=True)),
        f"{name}_wall_ratio": statistics.median(p[1] / o[1] for o, p in zip(ours, plain, strict=True)),
        f"{name}_steps_per_cpu_second": statistics.median(1 / o[0] for o in ours),
        f"{name}_plain_steps_per_cpu_second": statistics.median(1 / p[0] for p in plain),
        f"{name}_mb_per_environment": ours[-1][2],
        f"{name}_plain_mb_per_environment": plain[-1][2],
    }


def main() -> None:
    arguments = common.parse_args("libero")
    figures: dict[str, float] = {}
    for processes in (1,) if arguments.quick else (1, 2):
        for kind in OBSERVATIONS:
            steps = 200 if kind == "state" else 40
            figures |= compared(kind, processes, 2 if arguments.quick else 5, steps)
    figures["memory_ratio"] = figures["state_1_mb_per_environment"] / figures["state_1_plain_mb_per_environment"]
    common.write("libero", figures, arguments.json)


if __name__ == "__main__":
    main()
