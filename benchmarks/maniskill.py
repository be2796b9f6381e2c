"""Steps per second, and per second of processor time, of the ManiSkill vector environment against plain loops.

    python -m benchmarks.maniskill --json=maniskill.json    # about three minutes on two cores
    python -m benchmarks.maniskill --quick                  # half a minute

The vector environment has two processes of eight environments each; the plain loops are two processes with
one environment each, written as ManiSkill's documentation shows. Both play random actions and reset when an
episode ends. They take turns, several times, because the machine's speed varies; the figures are medians, and
the ratios are medians of the turns' ratios. Aims: `ratio_pool_over_loops` at least 2.2 (on a machine that does
something else besides, `ratio_cpu`, in steps per second of processor time, this process's share included, says more),
`rss_mb_16_envs` (resident sets of the two workers, pages that they share counted twice; `pss_mb_16_envs` counts them
once) below 1500.
"""

from __future__ import annotations

import operator
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import common
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

TASK = "PickCube-v1"
PROCESSES = 2
ENVS = 16


class Speed(NamedTuple):
    """Steps per second."""

    wall: float
    cpu: float


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

    def play(self, seconds: float) -> Speed:
        for process in self._processes:
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        replies = [[float(word) for word in process.stdout.readline().split()] for process in self._processes]
        steps, walls, cpus = zip(*replies, strict=True)
        return Speed(sum(map(operator.truediv, steps, walls)), sum(steps) / sum(cpus))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def plain_loop() -> None:
    """What one of the loop processes runs: reads seconds, plays so long, writes steps, wall seconds, CPU seconds."""
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
        steps, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < float(line):
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            _, _, terminated, truncated, _ = env.step(action)
            steps += 1
            if terminated or truncated:
                episode += 1
                env.reset(seed=episode)
        sys.stdout.write(f"{steps} {time.perf_counter() - start} {time.process_time() - cpu}\n")
        sys.stdout.flush()


def play(env: ManiSkillVectorEnv, rng: np.random.Generator, seconds: float) -> Speed:
    def cpu_seconds() -> float:
        return time.process_time() + sum(common.cpu_seconds(process.pid) for process in env._pool.processes)

    steps, start, cpu = 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() - start < seconds:
        env.step(rng.uniform(-1, 1, (ENVS, env.spec.action_dim)))
        steps += ENVS
    return Speed(steps / (time.perf_counter() - start), steps / (cpu_seconds() - cpu))


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
    pool: list[Speed] = []
    loops: list[Speed] = []
    plain = Loops()
    with ManiSkillVectorEnv(TASK, ENVS, range(ENVS), processes=PROCESSES) as env:
        env.reset()
        play(env, rng, 1.0)
        plain.play(1.0)
        for turn in range(turns):
            order = [0, 1] if turn % 2 else [1, 0]  # neither always goes first
            for which in order:
                if which:
                    pool.append(play(env, rng, seconds))
                else:
                    loops.append(plain.play(seconds))
        pids = [process.pid for process in env._pool.processes]
        memory = {kind: sum(memory_mb(pid, kind) for pid in pids) for kind in ("Pss", "Rss")}
    plain.close()
    figures = {
        "ratio_pool_over_loops": statistics.median(a.wall / b.wall for a, b in zip(pool, loops, strict=True)),
        "ratio_cpu": statistics.median(a.cpu / b.cpu for a, b in zip(pool, loops, strict=True)),
        "pool_steps_per_second": statistics.median(speed.wall for speed in pool),
        "loops_steps_per_second": statistics.median(speed.wall for speed in loops),
        "rss_mb_16_envs": memory["Rss"],
        "pss_mb_16_envs": memory["Pss"],
    }
    common.write("maniskill", figures, arguments.json)


if __name__ == "__main__":
    if "--plain-loop" in sys.argv:
        plain_loop()
    else:
        main()
