"""The environments of a process: its share of the groups, each with one initial state for all of its trajectories."""

from __future__ import annotations

import functools

import jax
import numpy as np

from rpd_jax.actions.contracts import check_convertible, convert
from rpd_jax.config.validation import ConfigError, require
from rpd_jax.envs.base import VectorEnv, episode_seed
from rpd_jax.envs.registry import env_seeds, make_env
from rpd_jax.types import ActionContract, Observation
from teachers.openvla.opd.settings import DistillSettings


class Environments:
    """Some of a run's environments, with frames; episodes run to their time limit.

    Trajectory n of N = B * G belongs to group n % B: rows of several tasks alternate too, so that a group has one task.

    Args:
      seeds: base seeds of the B groups.
      size: G, trajectories of a group.
      contract: what the student's actions mean.
    Raises:
      ConfigError: the environment is unknown, has no frames, or takes other actions.
    """

    def __init__(self, settings: DistillSettings, seeds: list[int], size: int, contract: ActionContract) -> None:
        config = settings.env
        self.env: VectorEnv = make_env(config, seeds * size, rgb=True, end_on_success=False)
        spec = self.env.spec
        if "rgb" not in spec.observation:
            raise ConfigError(f"env.name={config.name!r} cannot work: it has no frames, which the student needs")
        if spec.instructions:
            tasks = len(spec.instructions)
            right = f"a multiple of the {tasks} tasks, in every process"
            require(len(seeds) % tasks == 0, "groups and evaluation.episodes", len(seeds), right)
        try:
            check_convertible(contract, spec.contract)
        except ValueError as error:
            raise ConfigError(f"env.name={config.name!r} cannot work: {error}") from error
        assert spec.contract is not None, "it was checked"
        self._convert = None
        if spec.contract != contract:
            self._convert = jax.jit(functools.partial(convert, source=contract, target=spec.contract))
        self._seeds, self.steps = seeds * size, spec.max_episode_steps
        words = spec.instructions_of(range(len(self._seeds)))
        self.instructions = [words] * len(self._seeds) if isinstance(words, str) else words.of_rows()

    def begin(self, number: int) -> Observation:
        """Begins episode `number` of every environment, whatever came before."""
        return begin_episode(self.env, self._seeds, number)

    def to_env(self, action: np.ndarray) -> np.ndarray:
        """The student's actions [N, C, 7] in the environment's contract."""
        return action if self._convert is None else np.asarray(self._convert(action))


def begin_episode(env: VectorEnv, seeds: list[int], number: int) -> Observation:
    """`env.begin_episode(number)`, or what comes nearest in an environment without it.

    Where its base seeds can be changed, the first episode of seeds that follow from these and the number; else the next
    episode: then a resumed run has other initial states than an undisturbed one.
    """
    if hasattr(env, "begin_episode"):
        return env.begin_episode(number)
    if hasattr(env, "reseed"):
        env.reseed([episode_seed(seed, number) for seed in seeds])
    return env.reset()


def share(seed: int, count: int, process: int, processes: int, name: str) -> list[int]:
    """The base seeds of a process, of `count` over all. Raises ConfigError unless they can be shared out evenly."""
    require(count % processes == 0, name, count, f"a multiple of the {processes} processes")
    each = count // processes
    return env_seeds(seed, count)[process * each : (process + 1) * each]
