"""Steps per second of the ManiSkill vector environment against plain loops, and its memory.

    python -m benchmarks.maniskill --json=maniskill.json    # about three minutes on two cores
    python -m benchmarks.maniskill --quick                  # half a minute

The vector environment has two processes of eight environments each; the plain loops are two processes with
one environment each, written as ManiSkill's documentation shows. Both play random actions and reset when an
episode ends. They take turns, several times, because the machine's speed varies; the figures are medians, and
the ratio is the median of the turns' ratios. Aims: `ratio_pool_over_loops` at least 0.95, `rss_mb_16_envs`
(resident sets of the two workers, pages that they share counted twice; `pss_mb_16_envs` counts them once)
below 1500.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import common
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

TASK = "PickCube-v1"
PROCESSES = 2
ENVS = 16


class Loops:
    """Plain single-environment loops, each in a process that plays when told to."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.maniskill", "--plain-loop"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        for process in self._processes:
            assert process.stdout.readline() == "ready\n"

    def steps_per_second(self, seconds: float) -> float:
        for process in self._processes:
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(float(process.stdout.readline()) for process in self._processes)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def plain_loop() -> None:
    """What one of the loop processes runs: reads seconds, plays so long, writes steps per second."""
    import gymnasium
    import mani_skill.envs  # noqa: F401
    import torch

    torch.set_num_threads(1)
    env = gymnasium.make(
        TASK,
        num_envs=1,
        obs_mode="state",
        control_mode="pd_ee_delta_pose",
        reward_mode="normalized_dense",
        sim_backend="physx_cpu",
        render_backend="sapien_cpu",
    )
    rng = np.random.default_rng(0)
    episode = 0
    env.reset(seed=episode)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < float(line):
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            _, _, terminated, truncated, _ = env.step(action)
            steps += 1
            if terminated or truncated:
                episode += 1
                env.reset(seed=episode)
        sys.stdout.write(f"{steps / (time.perf_counter() - start)}\n")
        sys.stdout.flush()


def pool_steps_per_second(env: ManiSkillVectorEnv, rng: np.random.Generator, seconds: float) -> float:
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        env.step(rng.uniform(-1, 1, (ENVS, env.spec.action_dim)))
        steps += ENVS
    return steps / (time.perf_counter() - start)


def memory_mb(pid: int, kind: str) -> float:
    """`kind` "Pss" or "Rss" of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"kind: unknown value {kind!r}, need Pss or Rss")


def main() -> None:
    arguments = common.parse_args("maniskill")
    turns, seconds = (3, 3.0) if arguments.quick else (8, 8.0)
    rng = np.random.default_rng(0)
    pool: list[float] = []
    loops: list[float] = []
    plain = Loops()
    with ManiSkillVectorEnv(TASK, ENVS, range(ENVS), processes=PROCESSES) as env:
        env.reset()
        pool_steps_per_second(env, rng, 1.0)
        plain.steps_per_second(1.0)
        for turn in range(turns):
            order = [0, 1] if turn % 2 else [1, 0]  # neither always goes first
            for which in order:
                if which:
                    pool.append(pool_steps_per_second(env, rng, seconds))
                else:
                    loops.append(plain.steps_per_second(seconds))
        pids = [process.pid for process in env._pool.processes]
        memory = {kind: sum(memory_mb(pid, kind) for pid in pids) for kind in ("Pss", "Rss")}
    plain.close()
    figures = {
        "ratio_pool_over_loops": statistics.median(a / b for a, b in zip(pool, loops, strict=True)),
        "pool_steps_per_second": statistics.median(pool),
        "loops_steps_per_second": statistics.median(loops),
        "rss_mb_16_envs": memory["Rss"],
        "pss_mb_16_envs": memory["Pss"],
    }
    common.write("maniskill", figures, arguments.json)


if __name__ == "__main__":
    if "--plain-loop" in sys.argv:
        plain_loop()
    else:
        main()
