"""Steps per second of the tabletop suite: environments with a policy, the full training loop, pictures, ManiSkill.

    python -m benchmarks.tabletop --json=tabletop.json    # about ten minutes on two cores
    python -m benchmarks.tabletop --quick                 # two minutes: the sizes that have a target

PickCube. A step is one control step of one environment (0.05 s). `env_steps_per_s`: jitted rollouts with the
student's policy (2 x 128, sampling) in the loop, state observation, 256 environments. `train_steps_per_s`: the whole
iteration (50-step rollouts, teacher labels, advantages, 8 epochs of 8 minibatches) of one RPD-MSE member with
256 environments. `ratio_over_maniskill`: `env_steps_per_s` over the steps of ManiSkill's pool of processes in the same
run, taking turns. `frames_per_s_64`, `frames_per_s_128`: pictures of 64 environments at once. Figures named
ENGINE_OBSERVATION_BATCH are the same for other engines, observations and numbers of environments. Medians.

The aims, on two CPU cores: 20,000, 10,000 and 20. On an accelerator MJX is the engine and 4096 environments are tried
too (aim: 200,000 env steps/s); `--engines c,mjx` chooses.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from rpd_jax.config import Config, EnvConfig, NetworkConfig, PPOConfig, TeacherConfig
from rpd_jax.envs.registry import env_seeds, make_functional
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.training import rollout_traced
from rpd_jax.training.loops import GraphLoop
from rpd_jax.training.population import Population
from rpd_jax.training.setup import env_base_seeds
from teachers.base import make
from teachers.converted import ConvertedTeacher

TASK = "PickCube-v1"
STEPS = 50  # of a rollout


def config_for(
    engine: str,
    observation: str,
    batch: int,
    image_size: int = 64,
    members: int = 1,
    hidden: tuple[int, ...] = (128, 128),
    teacher: TeacherConfig | None = None,
) -> Config:
    """RPD-MSE members with `batch` environments each; the teacher is scripted unless given."""
    return Config(
        variants=("rpd-mse",),
        seeds=tuple(range(members)),
        env=EnvConfig(
            name=f"tabletop:{TASK}", physics=engine, observation=observation, num_envs=batch, image_size=image_size
        ),
        network=NetworkConfig(hidden=hidden),
        algorithm=PPOConfig(rollout_length=STEPS, minibatches=8, target_kl=None),
        teacher=teacher or TeacherConfig(noise=0.15),
    ).validate()


def rollouts(engine: str, observation: str, batch: int) -> Callable[[], float]:
    """A function that runs one rollout of `batch` environments and returns its steps per second."""
    config = config_for(engine, observation, batch)
    env = make_functional(config.env, rgb=observation == "rgb", end_on_success=True)
    population = Population(config, env.spec)
    members = population.init()
    seeds = jnp.asarray(np.asarray(env_seeds(0, batch), np.uint32))
    ages = jnp.zeros(batch, jnp.int32)
    running = jax.jit(functools.partial(rollout_traced.begin, env))(seeds, ages)
    collect = jax.jit(lambda members, running: rollout_traced.collect(env, population, STEPS, members, running))
    state = {"running": running}

    def run() -> float:
        started = time.perf_counter()
        state["running"], rollout = collect(members, state["running"])
        jax.block_until_ready(rollout)
        return STEPS * batch / (time.perf_counter() - started)

    return run


def iterations(config: Config) -> Callable[[], float]:
    """A function that runs one training iteration and returns its environment steps per second, of all members."""
    env = make_functional(config.env, rgb=config.env.sees_frames, end_on_success=True)
    population = Population(config, env.spec)
    teacher = make(env.spec, config.teacher)
    if teacher.spec.contract is not None:
        teacher = ConvertedTeacher(teacher, env.spec, config.teacher.gripper)
    loop = GraphLoop(config, env, env_base_seeds(population, config.env.num_envs), population, teacher)
    state = {"members": population.init(), "iteration": 0}

    def run() -> float:
        started = time.perf_counter()
        state["members"], _ = loop.run(state["members"], state["iteration"], 1)
        state["iteration"] += 1
        steps = config.algorithm.iteration_steps(config.env.num_envs * len(population))
        return steps / (time.perf_counter() - started)

    return run


def pictures(size: int, batch: int = 64) -> Callable[[], float]:
    """A function that draws `batch` environments and returns frames per second."""
    env = TabletopEnv(TASK, image_size=size)
    states, _ = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), batch))
    draw = jax.jit(jax.vmap(env.render))

    def run() -> float:
        started = time.perf_counter()
        jax.block_until_ready(draw(states))
        return batch / (time.perf_counter() - started)

    return run


def maniskill_pool() -> Callable[[], float]:
    """A function that plays random actions in ManiSkill's pool for some seconds and returns steps per second."""
    from benchmarks.maniskill import ENVS, PROCESSES, play
    from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

    env = ManiSkillVectorEnv(TASK, ENVS, range(ENVS), processes=PROCESSES)
    env.reset()
    rng = np.random.default_rng(0)
    return lambda: play(env, rng, 3.0).wall


def repeated(run: Callable[[], float], repeats: int) -> list[float]:
    """Figures of `repeats` runs after one that compiles and one that warms up."""
    run(), run()
    return [run() for _ in range(repeats)]


def parse_args() -> argparse.Namespace:
    parser = common.make_parser("tabletop")
    default = "c" if jax.default_backend() == "cpu" else "mjx"
    parser.add_argument("--engines", default=default, help="c, mjx or c,mjx")
    parser.add_argument("--no-maniskill", action="store_true", help="leave ManiSkill's pool out")
    return parser.parse_args()


def main() -> None:
    arguments = parse_args()
    repeats = 5 if arguments.quick else 9
    main_engine = arguments.engines.split(",")[0]
    figures: dict[str, float] = {}

    play = rollouts(main_engine, "state", 256)
    if arguments.no_maniskill:
        ours = repeated(play, repeats)
    else:
        pool = maniskill_pool()
        play(), play(), pool()
        ours, ratios = [], []
        for _ in range(repeats):  # they take turns: the machine's speed varies
            mine = statistics.median(play() for _ in range(3))
            ours.append(mine)
            ratios.append(mine / pool())
        figures["ratio_over_maniskill"] = common.median(ratios)
    figures["env_steps_per_s"] = common.median(ours)
    figures["env_steps_spread"] = common.spread(ours)
    trained = repeated(iterations(config_for(main_engine, "state", 256)), repeats)
    figures["train_steps_per_s"] = common.median(trained)
    figures["train_steps_spread"] = common.spread(trained)
    for size in (64, 128):
        figures[f"frames_per_s_{size}"] = common.median(repeated(pictures(size), repeats))
    if not arguments.quick:
        largest = (4096,) if jax.default_backend() != "cpu" else ()
        for engine in arguments.engines.split(","):
            for batch in (64, 256, 1024, *largest):
                for observation in ("state", "rgb") if batch <= 256 else ("state",):
                    name = f"{engine}_{observation}_{batch}"
                    figures[f"env_steps_per_s_{name}"] = common.median(
                        repeated(rollouts(engine, observation, batch), 3)
                    )
                figures[f"train_steps_per_s_{engine}_state_{batch}"] = common.median(
                    repeated(iterations(config_for(engine, "state", batch)), 3)
                )
    common.write("tabletop", figures, arguments.json)


if __name__ == "__main__":
    main()
