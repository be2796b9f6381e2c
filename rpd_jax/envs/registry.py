"""Environments by name: "suite:task". The suites themselves are imported when one of theirs is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rpd_jax.config import REWARDS, ConfigError, EnvConfig, choice
from rpd_jax.config.tagged import imported
from rpd_jax.envs.base import FunctionalEnv, VectorEnv, episode_seed
from rpd_jax.envs.several import SeveralTasks
from rpd_jax.envs.suite import Suite, TaskInfo, count_tasks, task_of

SUITES: dict[str, Suite | str] = {
    "tabletop": "rpd_jax.envs.tabletop.suite:SUITE",
    "maniskill": "rpd_jax.envs.maniskill.suite:SUITE",
    "libero": "rpd_jax.envs.libero.suite:SUITE",
    "metaworld": "rpd_jax.envs.metaworld.suite:SUITE",
    "toy": "rpd_jax.envs.toy.suite:SUITE",
    "own": "rpd_jax.envs.own:NOT_GIVEN",
}
"""Suite by name, or where to import it from."""


def register_suite(name: str, suite: Suite | str, settings: type[EnvConfig] | str = EnvConfig) -> None:
    """Makes the tasks of a suite known as "name:task": to training, evaluation, collecting and export.

    Args:
      name: of the suite, without a colon.
      suite: the suite, or "module:attribute", which is imported when one of its tasks is asked for.
      settings: its dataclass of settings, a subclass of `EnvConfig`, or "module:attribute"; None of its own: EnvConfig.

    Raises:
      ConfigError: another suite has that name, or the name has a colon.
    """
    if not name or ":" in name or SUITES.get(name, suite) != suite:
        raise ConfigError(f"suite name={name!r} cannot work: it must be new and without a colon")
    SUITES[name], EnvConfig.kinds[name] = suite, settings


def suite_of(config: EnvConfig) -> Suite:
    """The suite that `config.name` begins with; raises ConfigError where there is none.

    Of a name with several tasks, "suite:task,task": that of their mixture.
    """
    config.check_kind()
    name = config.tag_of(config.name)
    suite = SUITES[name]
    if isinstance(suite, str):
        suite = SUITES[name] = imported(suite)
    return SeveralTasks(suite) if count_tasks(config) > 1 else suite


def check_env(config: EnvConfig, suite: Suite | None = None) -> None:
    """Raises ConfigError for what the environment's suite does not know, without starting anything.

    Here and below `suite` is the one that the name means, unless a caller brings another (see `own.own_suite`).
    """
    choice("env.reward", config.reward, REWARDS)
    (suite or suite_of(config)).check(config)


def task_info(config: EnvConfig, suite: Suite | None = None) -> TaskInfo:
    """What is known of the environment without starting anything; raises ConfigError for an unknown one."""
    return (suite or suite_of(config)).info(task_of(config), config)


def tasks_of(config: EnvConfig) -> tuple[str, ...]:
    """Names "suite:task" of all tasks that the environment's name means: itself, or those of a set of the suite.

    A suite that has sets, such as "libero:Spatial", says by `members(task)` which tasks are in them.
    """
    members = getattr(suite_of(config), "members", None)
    named = members(task_of(config)) if members else (task_of(config),)
    return tuple(f"{config.tag_of(config.name)}:{task}" for task in named)


def make_env(
    config: EnvConfig,
    seeds: Sequence[int],
    *,
    rgb: bool,
    end_on_success: bool,
    random_ages: bool = False,
    suite: Suite | None = None,
) -> VectorEnv:
    """Builds one environment for each seed.

    Args:
      config: names the task and how it is simulated; its `num_envs` is not used.
      seeds: base seeds; each environment's sequence of episodes is a function of its own.
      rgb: whether every observation holds a frame.
      end_on_success: whether success terminates an episode.
      random_ages: whether first episodes are cut short, see `base.first_ages`; not for evaluation.
      suite: see `check_env`.

    Raises:
      ConfigError: the environment is unknown, or cannot be as it is to be.
    """
    suite = suite or suite_of(config)
    check_env(config, suite)
    return suite.make(config, seeds, rgb=rgb, end_on_success=end_on_success, random_ages=random_ages)


def make_functional(
    config: EnvConfig, *, rgb: bool, end_on_success: bool, suite: Suite | None = None
) -> FunctionalEnv | None:
    """The environment as pure functions, for suites written in JAX; None for the others.

    Raises ConfigError for an unknown environment.
    """
    suite = suite or suite_of(config)
    check_env(config, suite)
    functional = getattr(suite, "functional", None)
    return functional and functional(config, rgb=rgb, end_on_success=end_on_success)


def random_ages(config: EnvConfig, rollout_length: int, steps: int) -> bool:
    """Whether environments to train in begin at random ages: as set, or else where rollouts are shorter than episodes.

    There, environments that all begin together would give batches of one phase of the episode each. `steps` is the most
    steps of an episode.
    """
    return rollout_length < steps if config.random_ages is None else config.random_ages


def unsettled_iterations(config: EnvConfig, rollout_length: int, steps: int) -> int:
    """Rollouts until every first episode that began at a random age has ended: until then all phases are early ones."""
    return math.ceil(steps / rollout_length) if random_ages(config, rollout_length, steps) else 0


def env_seeds(seed: int, num_envs: int) -> list[int]:
    """Base seeds of the environments that belong to a seed: the same whatever else is simulated beside them."""
    return [episode_seed(seed, index) for index in range(num_envs)]
