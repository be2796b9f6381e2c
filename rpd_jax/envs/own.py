"""A caller's own environment as a suite of one task, which needs no registration."""

from __future__ import annotations

import abc
import contextlib
import functools
from collections.abc import Sequence
from typing import Any, Protocol

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.config.env import OWN
from rpd_jax.envs.base import EnvSpec, FunctionalEnv, VectorEnv
from rpd_jax.envs.suite import FunctionalSuite, TaskInfo, info_of

_FIXED = ("reward", "max_episode_steps", "instruction")  # settings that are the environment's own affair


class MakesEnvs(Protocol):
    """A function that makes vector environments; where it has an attribute `spec`, none is made to be asked for it."""

    def __call__(self, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool) -> VectorEnv:
        """One environment for each base seed; see `registry.make_env`."""
        ...


def own_suite(env: FunctionalEnv | MakesEnvs) -> OwnSuite:
    """The suite whose one task is this environment; a run's `env.name` must be its `name`, "own:" and the task's.

    Args:
      env: a `FunctionalEnv`, which is taken as it is, or a function that makes vector environments.

    Raises:
      ConfigError: it is neither.
    """
    if hasattr(env, "num_envs") or not (callable(env) or all(hasattr(env, each) for each in ("spec", "reset", "step"))):
        raise ConfigError(
            f"env={type(env).__name__} cannot work: it must be a FunctionalEnv, or a function "
            "(seeds, *, rgb, end_on_success, random_ages) -> VectorEnv"
        )
    return _Factory(env) if callable(env) else _Functional(env)


class OwnSuite(abc.ABC):
    """See `suite.Suite`."""

    def __init__(self, env: Any) -> None:
        self._env = env

    @functools.cached_property
    @abc.abstractmethod
    def spec(self) -> EnvSpec:
        """The environment's."""

    @property
    def name(self) -> str:
        return f"{OWN}:{self.tasks()[0]}"

    def tasks(self) -> tuple[str, ...]:
        return (self.spec.name.rpartition(":")[2],)

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        return info_of(self.spec)

    def check(self, config: EnvConfig) -> None:
        defaults = EnvConfig(name=self.name)
        for field in _FIXED:
            if (value := getattr(config, field)) != getattr(defaults, field):
                raise ConfigError(f"env.{field}={value!r} cannot work: an environment of your own decides that itself")
        if missing := set(config.entries) - self._known():
            raise ConfigError(
                f"env.observation={config.observation!r} cannot work: {self.spec.name} gives "
                f"{', '.join(sorted(self._known()))}, not {', '.join(sorted(missing))}"
            )

    @abc.abstractmethod
    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        """See `suite.Suite`."""

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv | None:
        return None

    def _known(self) -> set[str]:
        """Entries that an observation can have."""
        return set(self.spec.observation)


class _Functional(OwnSuite):
    make = FunctionalSuite.make

    @functools.cached_property
    def spec(self) -> EnvSpec:
        return self._env.spec

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv:
        return self._env


class _Factory(OwnSuite):
    @functools.cached_property
    def spec(self) -> EnvSpec:
        if hasattr(self._env, "spec"):
            return self._env.spec
        with contextlib.closing(self._env([0], rgb=False, end_on_success=False, random_ages=False)) as env:
            return env.spec

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        return self._env(seeds, rgb=rgb, end_on_success=end_on_success, random_ages=random_ages)

    def _known(self) -> set[str]:
        return super()._known() | set(self.spec.cameras)


class _NotGiven(FunctionalSuite):
    """Stands where a run's config names an environment that only its caller has."""

    def tasks(self) -> tuple[str, ...]:
        return ()

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        return TaskInfo()

    def check(self, config: EnvConfig) -> None:
        raise ConfigError(
            f"env.name={config.name!r} cannot work here: it is a caller's own environment; pass it as env=, "
            "or give it a name by register_suite"
        )

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv:
        raise AssertionError("`check` comes before")


NOT_GIVEN = _NotGiven()
