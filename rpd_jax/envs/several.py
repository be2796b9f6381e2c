"""Several tasks of one suite in one vector environment: "tabletop:PushCube-v1,PullCube-v1"; row n is of task n % K."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs.base import (
    INSTRUCTION,
    ArraySpec,
    EnvSpec,
    StepResult,
    VectorEnv,
    begin_episode,
)
from rpd_jax.envs.suite import SEPARATOR, Suite, TaskInfo, task_of
from rpd_jax.types import Array, Observation


class SeveralTasks:
    """A suite's tasks, several at a time; see `suite.Suite`. They are stepped on the host, each by its own program."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite

    def tasks(self) -> Sequence[str]:
        return self._suite.tasks()

    def info(self, task: str, config: EnvConfig) -> TaskInfo:
        """What holds for all tasks; the most steps, and all instructions, in order."""
        infos = [self._suite.info(each, _one(config, each)) for each in task.split(SEPARATOR)]
        steps = [info.max_episode_steps for info in infos if info.max_episode_steps is not None]
        shared = {
            field.name: getattr(infos[0], field.name)
            for field in dataclasses.fields(TaskInfo)
            if all(getattr(info, field.name) == getattr(infos[0], field.name) for info in infos)
        }
        shared["instructions"] = tuple(info.instructions[0] for info in infos)
        shared["max_episode_steps"] = max(steps) if len(steps) == len(infos) else None
        return TaskInfo(**shared)

    def check(self, config: EnvConfig) -> None:
        names = task_of(config).split(SEPARATOR)
        if len(set(names)) < len(names):
            raise ConfigError(f"env.name={config.name!r} cannot work: it names a task twice")
        for each in names:
            self._suite.check(_one(config, each))

    def make(
        self, config: EnvConfig, seeds: Sequence[int], *, rgb: bool, end_on_success: bool, random_ages: bool
    ) -> SeveralVectorEnv:
        names, envs = task_of(config).split(SEPARATOR), []
        if len(seeds) < len(names):
            raise ConfigError(f"{len(seeds)} environments cannot be of {len(names)} tasks: env.name={config.name!r}")
        try:
            for number, each in enumerate(names):
                its = list(seeds)[number :: len(names)]
                options = {"rgb": rgb, "end_on_success": end_on_success, "random_ages": random_ages}
                envs.append(self._suite.make(_one(config, each), its, **options))
            return SeveralVectorEnv(envs, config.entries)
        except BaseException:
            for env in envs:
                env.close()
            raise

    def functional(self, config: EnvConfig, *, rgb: bool, end_on_success: bool) -> None:
        """See `Suite`."""


class SeveralVectorEnv:
    """K vector environments as one, see `base.VectorEnv`: row n is row n // K of environment n % K; numpy's arrays.

    Observations have the entries that are of one shape in all of them, and "instruction": the number n % K.

    Args:
      envs: of B, or of B and B - 1 rows, so that each row has its place.
      keys: the entries that must be there.

    Raises:
      ConfigError: actions, or one of these entries, differ.
    """

    def __init__(self, envs: Sequence[VectorEnv], keys: Sequence[str]) -> None:
        self._envs = envs
        self.num_envs = sum(env.num_envs for env in envs)
        self.restores_episodes = all(getattr(env, "restores_episodes", False) for env in envs)
        self.spec = _common([env.spec for env in envs], keys)

    def reset(self) -> Observation:
        return self._observation([env.reset() for env in self._envs])

    def begin_episode(self, number: int) -> Observation:
        """Begins episode `number` of every environment, where all of them can."""
        return self._observation([begin_episode(env, number) for env in self._envs])

    def step(self, action: Array) -> StepResult:
        action = np.asarray(action)
        if action.shape != (self.num_envs, self.spec.action_dim):
            raise ValueError(f"action: shape must be {(self.num_envs, self.spec.action_dim)}, got {action.shape}")
        count = len(self._envs)
        results = [env.step(action[number::count]) for number, env in enumerate(self._envs)]
        rest = ("reward", "terminated", "truncated", "success")
        return StepResult(
            self._observation([result.observation for result in results]),
            self._observation([result.final_observation for result in results]),
            **{name: self._woven([getattr(result, name) for result in results]) for name in rest},
        )

    def frames(self, indices: Sequence[int], camera: str = "rgb") -> np.ndarray:
        """See `base.VectorEnv`."""
        rows, count = np.asarray(indices, int).reshape(-1), len(self._envs)
        if ((rows < 0) | (rows >= self.num_envs)).any():
            raise ValueError(f"indices={list(indices)}: must be in [0, {self.num_envs})")
        found: np.ndarray | None = None
        for number, env in enumerate(self._envs):
            its = rows % count == number
            if its.any():
                indices = (rows[its] // count).tolist()
                drawn = np.asarray(env.frames(indices) if camera == "rgb" else env.frames(indices, camera))
                found = np.zeros((len(rows), *drawn.shape[1:]), np.uint8) if found is None else found
                found[its] = drawn
        return np.zeros((0, *self.spec.cameras.get(camera, ())), np.uint8) if found is None else found

    def state_dict(self) -> dict[str, np.ndarray]:
        states = [env.state_dict() for env in self._envs]
        return {f"{number}/{name}": x for number, state in enumerate(states) for name, x in state.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        for number, env in enumerate(self._envs):
            prefix = f"{number}/"
            env.load_state_dict({name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)})

    def metrics(self) -> dict[str, float]:
        """Sums over the tasks."""
        found: dict[str, float] = {}
        for env in self._envs:
            found |= {name: found.get(name, 0.0) + value for name, value in env.metrics().items()}
        return found

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _observation(self, parts: Sequence[Observation]) -> Observation:
        numbers = np.arange(self.num_envs, dtype=np.int32) % len(self._envs)
        shared = [key for key in self.spec.observation if key != INSTRUCTION]
        woven: Observation = {key: self._woven([part[key] for part in parts]) for key in shared}
        return woven | {INSTRUCTION: numbers}

    def _woven(self, parts: Sequence[Array]) -> np.ndarray:
        first = np.asarray(parts[0])
        woven = np.empty((self.num_envs, *first.shape[1:]), first.dtype)
        for number, part in enumerate(parts):
            woven[number :: len(parts)] = np.asarray(part)
        return woven


def _one(config: EnvConfig, task: str) -> EnvConfig:
    return dataclasses.replace(config, name=f"{config.tag_of(config.name)}:{task}")


def _common(specs: Sequence[EnvSpec], keys: Sequence[str]) -> EnvSpec:
    """What holds for all; raises ConfigError where actions or the entries `keys` differ."""
    first = specs[0]

    def agree(of: Callable[[EnvSpec], Any]) -> bool:
        return all(of(spec) == of(first) for spec in specs)

    def entry(field: str, key: str) -> Callable[[EnvSpec], Any]:
        return lambda spec: getattr(spec, field).get(key)

    actions = ("action_dim", "action_low", "action_high", "contract", "horizon_scale", "frame_shape", "further_cameras")
    differing = [name for name in actions if not agree(operator.attrgetter(name))]
    differing += [f"observation {key}" for key in keys if not agree(entry("observation", key))]
    if differing:
        tasks = ", ".join(spec.task for spec in specs)
        raise ConfigError(f"env.name={first.suite}:{tasks} cannot work: the tasks differ in {', '.join(differing)}")
    return dataclasses.replace(
        first,
        name=f"{first.suite}:{SEPARATOR.join(spec.task for spec in specs)}",
        instruction="; ".join(spec.instruction for spec in specs),
        instructions=tuple(spec.instruction for spec in specs),
        max_episode_steps=max(spec.max_episode_steps for spec in specs),
        observation={key: x for key, x in first.observation.items() if agree(entry("observation", key))}
        | {INSTRUCTION: ArraySpec((), "int32")},
        layout={key: parts for key, parts in first.layout.items() if agree(entry("layout", key))},
        camera=first.camera if agree(lambda spec: spec.camera) else None,
    )
