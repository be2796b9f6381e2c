"""One trained member that acts.

student = load_student("runs/quickstart", "rpd-mse", seed=0)
action = student.act({"state": state})          # [D] -> [A], or [B, D] -> [B, A]
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.algorithms.base import MemberState, learned
from rpd_jax.algorithms.variants import resolve_variants
from rpd_jax.config import Config, EnvConfig, VariantSpec
from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.envs.registry import check_env, env_seeds, make_env, make_functional
from rpd_jax.envs.suite import count_tasks
from rpd_jax.policies import normalization
from rpd_jax.policies.base import Policy
from rpd_jax.runs.checkpoint import Checkpoint, from_paths, load_checkpoint
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Observation


@dataclasses.dataclass(frozen=True, eq=False)
class Student:
    """One member of a population, as it is at one point of training; see `load_student` and `Student.of`."""

    population: Population
    member: MemberState  # its leaves have no member axis
    variant: str
    seed: int
    iteration: int  # of training
    spec: EnvSpec  # of its environment: `spec.contract` and the box say what its actions mean

    @classmethod
    def of(cls, population: Population, members: MemberState, index: int, iteration: int = 0) -> Self:
        """Member `index` of a population; the leaves of `members` are [P, ...]."""
        variant, seed = population.members[index]
        mine = jax.tree.map(lambda leaf: leaf[index], learned(members))
        return cls(
            population, MemberState(**mine, opt_state=None, key=None), variant.name, seed, iteration, population.spec
        )

    @property
    def config(self) -> Config:
        """What its run was configured with."""
        return self.population.config

    @property
    def observation(self) -> dict[str, ArraySpec]:
        """What it sees: the entries, without batch axes."""
        return {key: self.spec.observation[key] for key in self.population.keys}

    @property
    def env_steps(self) -> int:
        """Environment steps that it was trained for."""
        return self.iteration * self.config.algorithm.iteration_steps(self.config.env.num_envs)

    def act(self, observation: Observation, key: chex.PRNGKey | None = None) -> chex.Array:
        """The policy's most likely action, or one drawn from it, limited to the environment's box.

        Args:
          observation: the entries that `observation` names, [...] or with the same batch axes in front; others are
            left alone.
          key: draws from the policy; None: deterministic.

        Returns:
          float32 [A], or with the same batch axes in front [B, A].

        Raises:
          ValueError: an entry is missing, or has another shape or kind of numbers.
        """
        return self._jitted(self.member, _checked(observation, self.observation), key)

    def program(self, observation: Observation, key: chex.PRNGKey | None = None) -> chex.Array:
        """`act` as a pure function of JAX arrays, neither checked nor jitted."""
        return act(self._policy, self.spec, self.member, observation, key)

    @property
    def _policy(self) -> Policy:
        return self.population.algorithm.policy

    @functools.cached_property
    def _jitted(self) -> Callable[..., chex.Array]:
        """Closes over the policy alone: a jitted function that holds the population keeps it for ever."""
        return jax.jit(functools.partial(act, self._policy, self.spec))


def load_student(
    directory: Path | str,
    variant: str = "",
    seed: int | None = None,
    iteration: int | None = None,
    *,
    spec: EnvSpec | None = None,
) -> Student:
    """Reads one member of a run, which may be under way; nothing on disk is changed.

    Args:
      directory: of the run.
      variant: its name; empty: the only one.
      seed: None: the only one.
      iteration: of the checkpoint; None: the newest that is intact.
      spec: of the run's environment; None: the environment is asked, which starts a simulator where that is a
        process (ManiSkill).

    Raises:
      CheckpointError: no run or checkpoint there, or it does not fit the environment.
      ConfigError: no such variant or seed, or there are several and none is named.
    """
    config, checkpoint = load_checkpoint(directory, iteration)
    chosen(config, resolve_variants(config), variant, seed)  # before anything is started
    with jax.enable_x64(False):  # whatever the program has switched on: parameters are single precision
        population = Population(config, spec or env_spec(config.env))
        members = restore_members(population, checkpoint)
        return chosen_student(population, members, variant, seed, checkpoint.host["iteration"])


def chosen_student(
    population: Population, members: MemberState, variant: str = "", seed: int | None = None, iteration: int = 0
) -> Student:
    """The member of that variant and seed, where there are several; raises ConfigError as `load_student` does."""
    wanted = chosen(population.config, population.specs, variant, seed)
    index = [(member.variant.name, member.seed) for member in population.members].index(wanted)
    return Student.of(population, members, index, iteration)


def chosen(config: Config, specs: Sequence[VariantSpec], variant: str, seed: int | None) -> tuple[str, int]:
    """The names that are given, or the only ones that there are."""
    name = _chosen("variant", variant, [spec.name for spec in specs])
    return name, int(_chosen("seed", "" if seed is None else str(seed), [str(each) for each in config.seeds]))


def restore_members(population: Population, checkpoint: Checkpoint) -> MemberState:
    """The members of a checkpoint, good for acting; raises CheckpointError if their parameters do not fit."""
    shapes = jax.eval_shape(population.init)
    template = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), learned(shapes))
    stored = from_paths(checkpoint.params, template, "params")
    return MemberState(**stored, opt_state=None, key=jnp.zeros(len(population), jnp.uint32))


def env_spec(config: EnvConfig) -> EnvSpec:
    """What the environment of a run takes and gives; raises ConfigError for an unknown one."""
    check_env(config)
    rgb = config.sees_frames
    functional = make_functional(config, rgb=rgb, end_on_success=False)
    if functional is not None:
        return functional.spec
    with contextlib.closing(make_env(config, env_seeds(0, count_tasks(config)), rgb=rgb, end_on_success=False)) as env:
        return env.spec


def act(
    policy: Policy, spec: EnvSpec, member: MemberState, observation: Observation, key: chex.PRNGKey | None
) -> chex.Array:
    """Actions [..., A] for entries [..., *shape]: a policy knows one batch axis, so that theirs become one."""
    rows: Observation = {}
    batch: tuple[int, ...] = ()
    for name, x in observation.items():
        shape = spec.observation[name].shape
        batch = x.shape[: x.ndim - len(shape)]
        rows[name] = x.reshape(-1, *shape)
    rows = normalization.normalize(member.normalizer, rows)
    if key is None:
        action = jax.vmap(lambda distribution: distribution.mode())(policy.apply(member.params, rows)[0])
    else:
        action = policy.sample(member.params, rows, jax.random.split(key, math.prod(batch)))
    low, high = (jnp.asarray(bound, jnp.float32)[None] for bound in (spec.action_low, spec.action_high))
    return jnp.clip(action, low, high).reshape(*batch, spec.action_dim)


def _checked(observation: Observation, entries: dict[str, ArraySpec]) -> Observation:
    """The entries, in their types; raises ValueError unless all are there and fit."""
    found: dict[str, Array] = {}
    batches = {}
    for name, (shape, dtype) in entries.items():
        if name not in observation:
            raise ValueError(
                f"observation lacks {name!r}: it has {sorted(observation)}, the student sees {list(entries)}"
            )
        x = observation[name] if isinstance(observation[name], jax.Array) else np.asarray(observation[name])
        batches[name] = x.shape[: max(0, x.ndim - len(shape))]
        if x.shape != (*batches[name], *shape):
            raise ValueError(
                f"observation[{name!r}] has shape {x.shape}: it must be {shape}, or that with batch axes in front"
            )
        if not np.can_cast(x.dtype, dtype, "same_kind"):  # frames of floats would be scaled wrongly
            raise ValueError(f"observation[{name!r}] is {x.dtype}: it must be {dtype}")
        found[name] = x.astype(dtype)
    if len(set(batches.values())) > 1:
        raise ValueError(f"observation has batch axes {batches}: they must be the same for all entries")
    return found


def _chosen(field: str, value: str, choices: list[str]) -> str:
    if value:
        choice(field, value, choices)
        return value
    if len(choices) > 1:
        raise ConfigError(f"{field} is missing: choose from {', '.join(choices)}")
    return choices[0]
