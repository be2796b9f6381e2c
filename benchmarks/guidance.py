"""What sparse guidance costs: an iteration with octo-nano asked at 5 % of the steps, beside one of PPO alone.

    python -m benchmarks.guidance --json=guidance.json    # about five minutes on two cores
    python -m benchmarks.guidance --quick

PickCube of the tabletop suite with the preset quickstart-vla: 64-pixel frames, octo-nano as the teacher, one member
with 32 environments, rollouts of 60 steps (so that 5 % are whole calls), the whole iteration (rollout, queries,
update). In turns, medians:

  ratio_5_percent    vlajs-persistent with query_fraction=0.05 over ppo
  ratio_20_percent   the same with 0.2
  ratio_every_step   rpd-mse over ppo
  ratio_shut_off     vlajs after its guidance has ended, over ppo (the aim: 1.02; ratio_5_percent: 1.3)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import jax.numpy as jnp

from benchmarks import common
from rpd_jax.config import Config
from rpd_jax.envs.registry import env_seeds, make_env, make_functional
from rpd_jax.presets import quickstart_vla
from rpd_jax.training.loops import GraphLoop
from rpd_jax.training.population import Population
from rpd_jax.types import Teacher
from teachers.settings import teacher_factory

VARIANTS = {
    "ppo": "ppo",
    "5_percent": "vlajs-persistent:query_fraction=0.05",
    "20_percent": "vlajs-persistent:query_fraction=0.2",
    "every_step": "rpd-mse",
    "shut_off": "vlajs:query_fraction=0.05",
}


def config_for(variant: str) -> Config:
    """One member of the preset."""
    config = quickstart_vla()
    config.variants, config.seeds = (variant,), (0,)
    config.algorithm.rollout_length, config.env.end_on_success = 60, False
    return config.validate()


def make_teacher() -> Teacher:
    """octo-nano for the preset's environment."""
    config = config_for("ppo")
    with contextlib.closing(make_env(config.env, [0], rgb=False, end_on_success=False)) as env:
        return teacher_factory(config.teacher)(env)


def iterations(name: str, teacher: Teacher) -> Callable[[], float]:
    """A function that runs one iteration and returns its seconds."""
    config = config_for(VARIANTS[name])
    env = make_functional(config.env, rgb=False, end_on_success=False)
    assert env is not None
    population = Population(config, env.spec)
    loop = GraphLoop(config, env, env_seeds(0, config.env.num_envs), population, teacher)
    members = population.init()
    if name == "shut_off":
        ended = members.schedule._replace(off=jnp.ones(1, bool), calls=jnp.zeros(1, jnp.int32))
        members = members._replace(schedule=ended)
    state = {"members": members, "iteration": 0}

    def run() -> float:
        started = time.perf_counter()
        state["members"], _ = loop.run(state["members"], state["iteration"], 1)
        state["iteration"] += 1
        return time.perf_counter() - started

    return run


def main() -> None:
    options = common.parse_args("guidance")
    repeats = 5 if options.quick else 25
    teacher = make_teacher()
    runs = {name: iterations(name, teacher) for name in VARIANTS}
    for run in runs.values():
        run(), run()  # compiles, and warms up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):  # in turns, so that a disturbance hits all alike
        for name, run in runs.items():
            seconds[name].append(run())
    figures = {}
    for name, values in seconds.items():
        figures[f"seconds_{name}"] = common.median(values)
        figures[f"spread_{name}"] = common.spread(values)
        if name != "ppo":
            figures[f"ratio_{name}"] = common.median(values) / common.median(seconds["ppo"])
    common.write("guidance", figures, options.json)


if __name__ == "__main__":
    main()
