"""Suites: families of tasks behind one protocol, named "suite:task" everywhere else."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from rpd_jax.config import EnvConfig, choice
from rpd_jax.envs.base import Camera, EnvSpec, FunctionalEnv, VectorEnv, undivided
from rpd_jax.types import ActionContract


@dataclasses.dataclass(frozen=True)
class TaskInfo:
    """What is known of a task under some settings without starting anything; the defaults say that it is not known."""

    instructions: tuple[str, ...] = ()  # the task in words; the first is what an environment's specification says
    max_episode_steps: int | None = None
    control_mode: str = ""  # what the actions are called in recordings
    contract: ActionContract | None = None  # None where actions are no end-effector deltas
    horizon_scale: int = 1  # see `base.EnvSpec`
    control_hz: float | None = None  # actions a second
    success: str = ""  # what counts as success, in words
    frames: tuple[str, ...] = ("rgb",)  # entries of an observation that cameras draw; a task may lack the first
    cameras: Mapping[str, Camera] = dataclasses.field(default_factory=dict)  # entry of an observation -> what takes it
    # Part of an observation -> its length and its unit, where its name does not tell (see export/fields.py).
    units: Mapping[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    axes: Mapping[str, str] = dataclasses.field(default_factory=dict)  # name of a frame -> where it lies, in words
    # Parts of "state" that the observation "ee" is made of, see `ee.observe`; empty where the task has none.
    ee_objects: tuple[str, ...] = ()  # poses [7]
    ee_goals: tuple[str, ...] = ()  # positions [3]

    @property
    def undivided_contract(self) -> ActionContract | None:
        """The contract at a horizon_scale of 1, in which teachers answer."""
        return undivided(self.contract, self.horizon_scale)


class SuiteCost(NamedTuple):
    """What simulating takes, as far as it was measured (BENCHMARKS.md); 0: not worth mentioning, or not known."""

    memory: float = 0.0  # bytes of one environment without frames, its share of a process included
    steps_per_second: float = 0.0  # of environments without frames, on one core


class Suite(Protocol):
    """Tasks that are made and described alike. A complete one, for a task written in JAX that a package has:

        import dataclasses
        from mylab.push import PushEnv  # a `base.FunctionalEnv`
        from rpd_jax import Config, register_suite, train
        from rpd_jax.config import EnvConfig, choice, setting
        from rpd_jax.envs.suite import FunctionalSuite, TaskInfo, task_of

        @dataclasses.dataclass
        class MyLabConfig(EnvConfig):
            friction: float = setting(0.5, above=0)  # --config.env.friction=0.3

        class MyLab(FunctionalSuite):
            def tasks(self):
                return ("Push-v0",)

            def functional(self, config, *, rgb, end_on_success):
                return PushEnv(config.friction, config.max_episode_steps or 100, end_on_success)

        register_suite("mylab", MyLab(), settings=MyLabConfig)  # or "mylab.suite:SUITE", imported when needed
        train(Config(env=EnvConfig(name="mylab:Push-v0", friction=0.3)))

    One that is not written in JAX has `make` and no `functional`; see `process_pool.PoolEnv` for simulators in
    processes of their own. One that has sets of tasks, to be evaluated together, has `members(set) -> its tasks` too,
    see `registry.tasks_of`; one whose simulators are heavy has a `SuiteCost` as `cost`, by which runs that cannot work
    are warned of. Importing the suite's module should start nothing. Programs are told of a module that
    registers a suite by --import.
    """

    def tasks(self) -> Sequence[str]:
        """The tasks that are described; a suite may have others besides."""
        ...

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        """What is known of a task under these settings. Starts nothing; raises ConfigError for what cannot be."""
        ...

    def check(self, config: EnvConfig) -> None:
        """Raises ConfigError for a task or a setting that cannot work, without starting anything."""
        ...

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        """One environment for each seed, see `registry.make_env`; `config` has been checked."""
        ...

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv | None:
        """The environment as pure functions of JAX arrays; a suite of simulators may leave this out."""
        ...


class FunctionalSuite(abc.ABC):
    """A suite whose tasks are written in JAX: `make` is there, and what else need not be said twice."""

    @abc.abstractmethod
    def tasks(self) -> Sequence[str]:
        """See `Suite`."""

    @abc.abstractmethod
    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> FunctionalEnv:
        """See `Suite`."""

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        return info_of(self.functional(config, rgb=False, end_on_success=True).spec)

    def check(self, config: EnvConfig) -> None:
        choice("env.name: task", task_of(config), self.tasks())

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> VectorEnv:
        from rpd_jax.envs.functional import FunctionalVectorEnv  # here, since it needs jax

        env = self.functional(config, rgb=rgb, end_on_success=end_on_success)
        return FunctionalVectorEnv(env, len(seeds), seeds, random_ages=random_ages)


SEPARATOR = ","  # between the tasks of a mixture, see `several.py`


def task_of(config: EnvConfig) -> str:
    """The part of `config.name` after the suite."""
    return config.name.partition(":")[2]


def count_tasks(config: EnvConfig) -> int:
    """How many tasks `config.name` names: so many environments at least must be made."""
    return task_of(config).count(SEPARATOR) + 1


def info_of(spec: EnvSpec) -> TaskInfo:
    """What the specification of an environment tells."""
    return TaskInfo(
        instructions=(spec.instruction,),
        max_episode_steps=spec.max_episode_steps,
        contract=spec.contract,
        horizon_scale=spec.horizon_scale,
        cameras={} if spec.camera is None else {"rgb": spec.camera},
    )
