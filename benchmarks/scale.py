"""The same training iteration on 1, 2 and 4 virtual CPU devices: what sharing members out costs, and changes.

    python -m benchmarks.scale [--quick] [--json=FILE]

Eight members (PPO and RPD-MSE, four seeds each) in tabletop's PickCube, 32 environments each, network 2 x 128, a
scripted teacher: the whole iteration as one program. The devices are threads of one process: the work is the same.

ratio_cpu_N    CPU seconds of all threads on N devices / on one (aim: at most 1.05)
ratio_wall_N   the same of wall time: below 1 where cores are idle otherwise
difference_N   largest difference of any parameter from one device's after the first iteration
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.common import make_parser, median, spread, write
from benchmarks.tabletop import config_for
from rpd_jax.algorithms.base import MemberState
from rpd_jax.envs.registry import make_functional
from rpd_jax.training.loops import GraphLoop
from rpd_jax.training.population import Population
from rpd_jax.training.setup import env_base_seeds
from teachers.base import load

DEVICES = (1, 2, 4)


def iterations(devices: int) -> Callable[[], MemberState]:
    """Runs one more iteration on `devices` devices at every call."""
    config = config_for("c", "state", 32)
    config.variants, config.seeds, config.run.devices = ("ppo", "rpd-mse"), (0, 1, 2, 3), devices
    env = make_functional(config.env, rgb=False, end_on_success=True)
    assert env is not None, "tabletop is written in JAX"
    population = Population(config, env.spec)
    teacher = load("scripted", env.spec, noise=config.teacher.noise)
    loop = GraphLoop(config, env, env_base_seeds(population, config.env.num_envs), population, teacher)
    state = {"members": population.init(), "iteration": 0}

    def run() -> MemberState:
        state["members"], _ = loop.run(state["members"], state["iteration"], 1)
        state["iteration"] += 1
        return state["members"]

    return run


def main() -> None:
    arguments = make_parser("scale").parse_args()
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    programs = {devices: iterations(devices) for devices in DEVICES}
    first = {devices: jax.device_get(run().params) for devices, run in programs.items()}
    cpu: dict[int, list[float]] = {devices: [] for devices in DEVICES}
    wall: dict[int, list[float]] = {devices: [] for devices in DEVICES}
    for _ in range(5 if arguments.quick else 15):  # they take turns
        for devices, run in programs.items():
            started, used = time.perf_counter(), time.process_time()
            run()
            cpu[devices].append(time.process_time() - used)
            wall[devices].append(time.perf_counter() - started)
    figures = {f"seconds_cpu_{devices}": median(cpu[devices]) for devices in DEVICES}
    figures |= {f"seconds_wall_{devices}": median(wall[devices]) for devices in DEVICES}
    figures |= {f"spread_cpu_{devices}": spread(cpu[devices]) for devices in DEVICES}
    for devices in DEVICES[1:]:
        figures[f"ratio_cpu_{devices}"] = median([a / b for a, b in zip(cpu[devices], cpu[1], strict=True)])
        figures[f"ratio_wall_{devices}"] = median([a / b for a, b in zip(wall[devices], wall[1], strict=True)])
        apart = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), first[devices], first[1])
        figures[f"difference_{devices}"] = max(jax.tree.leaves(apart))
    write("scale", figures, arguments.json)


if __name__ == "__main__":
    main()
