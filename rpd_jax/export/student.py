"""One member of a saved run as a pure function: an observation in, the deterministic action out."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.algorithms.base import MemberState
from rpd_jax.config import Config, EnvConfig
from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.registry import check_env, env_seeds, make_env, make_functional
from rpd_jax.policies import normalization
from rpd_jax.policies.base import STUDENT_KEYS
from rpd_jax.policies.normalization import CLIP, Normalizer
from rpd_jax.runs.checkpoint import load_checkpoint
from rpd_jax.training.population import Population
from rpd_jax.training.reevaluation import restore_members
from rpd_jax.types import Array, Observation

UNUSED = ("critic", "log_std")
"""How the names of parameters begin that acting by the mean does not need."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How one entry of the observation is normalised: (x - mean) / std, limited to +-clip."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    clip: float


@dataclasses.dataclass(frozen=True)
class Student:
    """One member of a run, as it is after training; nothing of it is random."""

    config: Config
    spec: EnvSpec
    variant: str
    seed: int
    iteration: int
    population: Population
    member: MemberState  # its leaves have no member axis

    @property
    def observation(self) -> dict[str, ArraySpec]:
        """What it sees: the entries, without batch axes."""
        return {key: self.spec.observation[key] for key in STUDENT_KEYS[self.config.env.observation]}

    @property
    def env_steps(self) -> int:
        """Environment steps that it was trained for."""
        return self.iteration * self.config.algorithm.iteration_steps(self.config.env.num_envs)

    @property
    def scales(self) -> dict[str, Scale]:
        """Normalisation by entry; those without are used as they are."""
        return scales(self.member.normalizer)

    def act(self, observation: Observation) -> Array:
        """The mean of its policy, limited to the environment's box: [B, A] for entries [B, ...]. Pure JAX."""
        policy, _ = self.population.apply(self.member, self.population.student_sees(observation))
        low, high = (jnp.asarray(bound, jnp.float32)[None] for bound in (self.spec.action_low, self.spec.action_high))
        return jnp.clip(policy.mean, low, high)


def load_student(
    directory: Path | str,
    variant: str = "",
    seed: int | None = None,
    *,
    iteration: int | None = None,
    spec: EnvSpec | None = None,
) -> Student:
    """Reads one member of a run.

    Args:
      directory: of the run.
      variant: its name; empty: the only one.
      seed: None: the only one.
      iteration: of the checkpoint; None: the newest.
      spec: of the run's environment; None: the environment is asked, which starts a simulator where that is a
        process (ManiSkill).

    Raises:
      CheckpointError: no run or checkpoint there, or it does not fit the environment.
      ConfigError: no such variant or seed, or there are several and none is named.
    """
    config, checkpoint = load_checkpoint(directory, iteration)
    spec = spec or env_spec(config.env)
    population = Population(config, spec)
    variant = _chosen("variant", variant, [v.name for v in population.specs])
    seed = int(_chosen("seed", "" if seed is None else str(seed), [str(s) for s in config.seeds]))
    index = [(m.variant.name, m.seed) for m in population.members].index((variant, seed))
    members = restore_members(population, checkpoint)
    return member_student(population, members, index, spec, checkpoint.host["iteration"])


def member_student(
    population: Population, members: MemberState, index: int, spec: EnvSpec, iteration: int = 0
) -> Student:
    """Member `index` of a population that acts in an environment of `spec`."""
    variant, seed = population.members[index]
    member = MemberState(
        *jax.tree.map(lambda leaf: leaf[index], (members.params, members.normalizer)), opt_state=None, key=None
    )
    return Student(population.config, spec, variant.name, seed, iteration, population, member)


def env_spec(config: EnvConfig) -> EnvSpec:
    """What the environment of a run takes and gives; raises ConfigError for an unknown one."""
    check_env(config)
    rgb = "rgb" in STUDENT_KEYS[config.observation]
    functional = make_functional(config, rgb=rgb, end_on_success=False)
    if functional is not None:
        return functional.spec
    with contextlib.closing(make_env(config, env_seeds(0, 1), rgb=rgb, end_on_success=False)) as env:
        return env.spec


def scales(normalizer: Normalizer) -> dict[str, Scale]:
    """What `normalization.normalize` does with these moments, as numbers."""
    found = {}
    for name, moments in normalizer.items():
        # at the mean nothing is clipped, and the slope is 1 / std
        slope = jax.grad(lambda x, name=name: normalization.normalize(normalizer, {name: x})[name].sum())(moments.mean)
        mean, std = np.asarray(moments.mean, float), 1.0 / np.asarray(slope, float)
        found[name] = Scale(tuple(mean.tolist()), tuple(std.tolist()), CLIP)
    return found


def _chosen(field: str, value: str, choices: list[str]) -> str:
    if value:
        choice(field, value, choices)
        return value
    if len(choices) > 1:
        raise ConfigError(f"{field} is missing: choose from {', '.join(choices)}")
    return choices[0]
