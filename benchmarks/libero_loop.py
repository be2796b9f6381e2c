"""The baseline of `benchmarks.libero`: LIBERO's own environment in a plain loop. Runs in LIBERO's virtual environment.

Arguments: the benchmark, the number of the task and robosuite's names of cameras. Reads numbers of control steps from
stdin, plays so many with random actions, writes the CPU and wall seconds that they took and the resident set in MB.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
from libero.libero import get_libero_path
from libero.libero.benchmark import get_benchmark
from libero.libero.envs import OffScreenRenderEnv


def main() -> None:
    name, number, cameras = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    tasks = get_benchmark(name)()
    task = tasks.get_task(number)
    path = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
    options = {"camera_names": cameras, "camera_heights": 256, "camera_widths": 256} if cameras else {}
    env = OffScreenRenderEnv(bddl_file_name=path, use_camera_obs=bool(cameras), **options)
    env.seed(0)
    env.reset()
    states, rng, steps = tasks.get_task_init_states(number), np.random.default_rng(0), 0
    print("\nready", flush=True)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(int(line)):
            if steps % 200 == 0:
                env.set_init_state(states[0])
                env.env.timestep = 0  # robosuite counts on
            env.step(rng.uniform(-1, 1, 7))
            steps += 1
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
        print(f"\nplayed {cpu} {wall} {resident}", flush=True)


if __name__ == "__main__":
    main()
