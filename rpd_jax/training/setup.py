"""What a run is made of, from its config: its checks, its teacher, its loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
from absl import logging

from rpd_jax.algorithms.variants import is_scheduled, resolve_variants
from rpd_jax.config import Config, ConfigError
from rpd_jax.config.extras import need
from rpd_jax.config.validation import require
from rpd_jax.envs.base import BeginsEpisodes, EnvSpec, VectorEnv
from rpd_jax.envs.registry import check_env, env_seeds, make_env, make_functional, random_ages
from rpd_jax.envs.suite import Suite
from rpd_jax.losses.terms import guided
from rpd_jax.training.guidance_check import check_acting, check_guidance, check_teacher, check_tokens
from rpd_jax.training.loop_offline import OfflineLoop
from rpd_jax.training.loops import GraphLoop, HostLoop, Loop
from rpd_jax.training.population import Population
from rpd_jax.types import Teacher

TeacherFactory = Callable[[VectorEnv], Teacher]
"""Makes a teacher for an environment; it may move that environment to check the action contract.

One that has a method `look(config.env)` is asked by it for mistakes before any environment is started.
"""


def check(config: Config, teacher: Teacher | TeacherFactory | None, suite: Suite | None = None) -> None:
    """Raises ConfigError for anything in a config that cannot work, before anything is started."""
    config.validate()
    check_env(config.env, suite)
    if config.run.wandb_project:
        need("wandb", f"run.wandb_project={config.run.wandb_project!r}")
    look(teacher, config)
    specs = [spec for spec in resolve_variants(config) if guided(spec)]
    if specs and teacher is None:
        names = [spec.name for spec in specs]
        raise ConfigError(f"variants={names} cannot work without a teacher: train(config, teacher=...)")
    for spec in specs:
        check_guidance(spec, config, suite)


def look(teacher: Teacher | TeacherFactory | None, config: Config) -> None:
    """Has a factory look for mistakes, if it can."""
    looks = getattr(teacher, "look", None)
    if looks is not None:
        looks(config.env)


def make_teacher(
    teacher: Teacher | TeacherFactory | None,
    config: Config,
    env: VectorEnv,
    stack: contextlib.ExitStack,
    suite: Suite | None = None,
) -> Teacher | None:
    """The teacher for an environment; one that draws every frame is spared the factory's probe by a stand-in.

    A teacher that is made here is closed with `stack`, if it can be; one that was given is its owner's to close.
    Raises ConfigError where it cannot act as `config.teacher` says.
    """
    made: Teacher | None
    if not callable(teacher):
        made = teacher
    elif "rgb" not in env.spec.observation:
        made = teacher(env)
    else:
        seeds = [config.eval.seed] * max(len(env.spec.instructions), 1)  # an environment of each task
        stand_in = make_env(config.env, seeds, rgb=False, end_on_success=False, suite=suite)
        with contextlib.closing(stand_in):
            made = teacher(stand_in)
    if made is not None:
        if made is not teacher and hasattr(made, "close"):
            stack.callback(made.close)
        check_acting(made, config.teacher.acting, env.spec)
    return made


def warn_of_schedules(population: Population, env_steps: int, before: int) -> None:
    """Says which variants' schedules go on elsewhere, where a resumed run had other `total_steps` before."""
    algorithm = population.config.algorithm
    now, scheduled = algorithm.total_steps, [s.name for s in population.specs if is_scheduled(s, algorithm)]
    if before != now and scheduled:
        logging.warning(
            "algorithm.total_steps was %s and is %s now: schedules (learning rate, entropy, annealing) of %s go on "
            "from progress %.2f, where they had reached %.2f",
            f"{before:,}", f"{now:,}", ", ".join(scheduled), env_steps / now, min(1.0, env_steps / before),
        )  # fmt: skip


def env_base_seeds(population: Population, num_envs: int) -> list[int]:
    """Of all environments [P * N]: members of one seed have the same, groups of environments share theirs."""
    rows = population.env_rows(num_envs)
    of_seed = {seed: np.array(env_seeds(seed, num_envs)) for seed in population.seeds}
    return [int(base) for seed, mine in zip(population.seeds, rows, strict=True) for base in of_seed[seed][mine]]


def make_loop(
    config: Config,
    spec: EnvSpec,
    population: Population,
    teacher: Teacher | None,
    stack: contextlib.ExitStack,
    suite: Suite | None = None,
) -> Loop:
    """The loop of a run: one program where environment and teacher are written in JAX, else one on the host.

    Of a family that learns from demonstrations: one without an environment.
    """
    population.algorithm.prepare()
    if not population.algorithm.plays:
        return OfflineLoop(config, spec, population)
    tasks = max(len(spec.instructions), 1)
    for where, count in (("env", config.env.num_envs), ("eval", config.eval.num_envs)):
        right = f"a multiple of the {tasks} tasks, so that all members have the same"
        require(count % tasks == 0, f"{where}.num_envs", count, right)
    guides = population.guides
    if teacher is not None and guides:
        check_teacher(teacher, spec)
        if population.algorithm.scores:
            check_tokens(teacher.spec, population.algorithm.policy.tokens)
    rgb = config.env.sees_frames
    ages = random_ages(config.env, config.algorithm.rollout_length, spec.max_episode_steps)
    seeds = env_base_seeds(population, config.env.num_envs)
    ends = config.env.end_on_success
    if teacher is None or teacher.spec.in_graph or not guides:
        env = make_functional(config.env, rgb=rgb, end_on_success=ends, suite=suite)
        if env is not None:
            return GraphLoop(config, env, seeds, population, teacher, random_ages=ages)
    vector_env = make_env(config.env, seeds, rgb=rgb, end_on_success=ends, random_ages=ages, suite=suite)
    stack.callback(vector_env.close)
    if population.algorithm.whole_episodes and not isinstance(vector_env, BeginsEpisodes):
        raise ConfigError(
            f"algorithm.name={config.algorithm.name!r} cannot work in {spec.name}: it plays whole episodes from shared "
            "beginnings, and the environment has no begin_episode"
        )
    return HostLoop(config, vector_env, population, teacher)
