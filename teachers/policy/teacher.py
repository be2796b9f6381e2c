"""A saved student as teacher: its exact Gaussian is what PPD's KL terms want."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.actions.contracts import clip
from rpd_jax.algorithms.base import MemberState
from rpd_jax.config import ConfigError
from rpd_jax.config.validation import choice, require
from rpd_jax.envs.base import INSTRUCTION, ArraySpec, EnvSpec
from rpd_jax.envs.registry import task_info
from rpd_jax.instructions import as_instructions
from rpd_jax.policies import normalization
from rpd_jax.policies.base import Policy
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.policies.tokens import Tokens
from rpd_jax.report.results import POINTS_FILE
from rpd_jax.runs.checkpoint import load_checkpoint
from rpd_jax.students import run_directory
from rpd_jax.training.population import Population
from rpd_jax.training.student import Student, restore_members
from rpd_jax.types import (
    Array,
    Instructions,
    Observation,
    TeacherLabels,
    TeacherSpec,
    TokenLabels,
    TokenScores,
)
from teachers.digest import digest_arrays
from teachers.policy.settings import PolicySettings


class PolicyTeacher:
    """One member of a finished run.

    Args:
      env_spec: of the environment whose transitions it labels; observations and actions must fit the run's.
      directory: of the run.
      member: its name "variant/seed", e.g. "rpd-mse/0"; empty: the run's last member.
      samples: 1 gives the mean action; k > 1 gives the mean of k draws (the std stays the exact one).

    Raises:
      CheckpointError: no checkpoint there, or it does not fit the environment.
      ConfigError: no member of that name, or steps of another length (`horizon_scale`).
    """

    def __init__(self, env_spec: EnvSpec, directory: Path | str, member: str = "", samples: int = 1) -> None:
        config, checkpoint = load_checkpoint(directory)
        # Of an environment whose observations hold no frames, they are drawn where the student sees them.
        drawn = {
            key: ArraySpec(env_spec.cameras[key], "uint8") for key in config.env.entries if key in env_spec.cameras
        }
        env_spec = dataclasses.replace(env_spec, observation=drawn | dict(env_spec.observation))
        population = Population(config, env_spec)
        names = [f"{m.variant.name}/{m.seed}" for m in population.members]
        if member and member not in names:
            raise ConfigError(f"teacher member {member!r} is unknown: {directory} has {', '.join(names)}")
        name = member or names[-1]
        everyone = restore_members(population, checkpoint)
        self._member = Student.of(population, everyone, names.index(name)).member
        self._samples = samples
        info = task_info(config.env)
        if info.horizon_scale != env_spec.horizon_scale:
            raise ConfigError(
                f"the run's env.horizon_scale={info.horizon_scale} is not the environment's "
                f"{env_spec.horizon_scale}: its actions are of other steps"
            )
        own = info.undivided_contract  # teachers answer with whole deltas
        self._own = own if own != env_spec.undivided_contract else None
        tokens = population.algorithm.policy.tokens
        self.spec = TeacherSpec(
            name=f"policy:{name}",
            observation_keys=config.env.entries,
            contract=self._own,  # another suite's may turn the other way
            samples_actions=samples > 1,
            token_bins=tokens.bins if tokens else 0,
            tokens=tokens if self._own is None else None,
            in_graph=True,
            checkpoint=digest_arrays({name: np.asarray(leaf) for name, leaf in checkpoint.params.items()}),
            success=own_success(run_directory(directory), name) if config.env.name == env_spec.name else None,
        )
        policy = population.algorithm.policy  # a program that holds the population would keep it
        self._told = policy.instructions
        right = "1: tokens that depend on each other have no mean"
        require(policy.chain is None or samples == 1, "teacher.samples", samples, right)
        self._policy = jax.jit(functools.partial(_distributions, policy))

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels observations [B, ...] with the mode and the exact standard deviation of the student's distribution."""
        policy: Gaussian | Tokens = self._act(observation, instructions)
        action = policy.mode()
        if self._samples > 1 and isinstance(policy, Gaussian):
            noise = jax.random.normal(key, (self._samples, *action.shape))
            action = action + policy.std * jnp.mean(noise, axis=0)
        elif self._samples > 1:
            action = jnp.mean(jax.vmap(policy.sample)(jax.random.split(key, self._samples)), axis=0)
        if self._own is not None:  # what its own environment would have made of it
            action = clip(action, self._own)
        return TeacherLabels(action, jnp.ones(len(action), bool), policy.std)

    def label_tokens(self, observation: Observation, instructions: Instructions | str, key: Array) -> TokenLabels:
        """As `label` of one sample, with the tokens; of a student that has such."""
        del key
        policy: Tokens = self._act(observation, instructions)
        labels = TeacherLabels(policy.mode(), jnp.ones(len(policy.logits), bool), policy.std)
        return TokenLabels(labels, jnp.argmax(policy.logits, axis=-1).astype(jnp.int32), _scores(policy))

    def score(self, observation: Observation, instructions: Instructions | str, tokens: Array) -> TokenScores:
        """The student's own distributions, of an autoregressive one along `tokens`."""
        return _scores(self._act(observation, instructions, tokens))

    def _act(self, observation: Observation, instructions: Instructions | str, tokens: Array | None = None) -> Any:
        """The student's distributions; one that heeds instructions is told which of its own each row has.

        `tokens`: see `Policy.given`; None: along the most likely ones.
        """
        if len(self._told) > 1:
            rows = as_instructions(instructions, len(next(iter(observation.values()))))
            for text in rows.texts:
                choice("instruction", text, self._told)
            numbers = jnp.array([self._told.index(text) for text in rows.texts], jnp.int32)
            observation = observation | {INSTRUCTION: numbers[rows.index]}
        return self._policy(self._member, observation, tokens)


def _distributions(policy: Policy, member: MemberState, observation: Observation, tokens: Array | None) -> Any:
    seen = normalization.normalize(member.normalizer, observation)
    return policy.apply(member.params, seen)[0] if tokens is None else policy.given(member.params, seen, tokens)


def _scores(policy: Tokens) -> TokenScores:
    return TokenScores(policy.logits, jax.nn.logsumexp(policy.logits, axis=-1))


def own_success(directory: Path, member: str) -> float | None:
    """Success rate of a run's member "variant/seed" in the run's last evaluation; None where that is not known."""
    try:
        points = json.loads((directory / POINTS_FILE).read_bytes())
        mine = [point for point in points if f"{point['variant']}/{point['seed']}" == member]
        return float(mine[-1]["success_once"])
    except (OSError, KeyError, IndexError, TypeError, ValueError):  # interrupted runs have none
        return None


def make(env_spec: EnvSpec, settings: PolicySettings) -> PolicyTeacher:
    """The factory of `PolicySettings`; raises as `PolicyTeacher`."""
    return PolicyTeacher(env_spec, settings.path, settings.member, settings.samples)
