"""A population: variants x seeds members that act and learn side by side in one program."""

from __future__ import annotations

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.algorithms.update import MemberState, Metrics, iteration_keys, make_optimizer, make_update
from rpd_jax.algorithms.variants import (
    Variant,
    VariantSpec,
    active_terms,
    resolve_variants,
    stack_variants,
    to_variant,
)
from rpd_jax.config import Config
from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.registry import unsettled_iterations
from rpd_jax.guidance import schedule
from rpd_jax.keys import stream
from rpd_jax.policies import gaussian, normalization
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.policies.networks import STUDENT_KEYS, ActorCritic, make_actor_critic
from rpd_jax.types import Observation, TeacherLabels, Transition


class Member(NamedTuple):
    """One learner: a variant and a seed."""

    variant: VariantSpec
    seed: int


class Action(NamedTuple):
    """What the members do in one step, leaves [P, N, ...]."""

    action: chex.Array  # [P, N, A], not clipped
    log_prob: chex.Array
    value: chex.Array


class Population:
    """The members of a run and their jitted programs.

    Nothing of a member's life depends on the others: its initial parameters, its random numbers and (through
    its seed) its environments are the same whatever population it is part of.
    """

    def __init__(self, config: Config, spec: EnvSpec) -> None:
        self.config = config
        self.specs = resolve_variants(config)
        self.members = [Member(variant, seed) for variant in self.specs for seed in config.seeds]
        self.terms = active_terms(self.specs)
        self._episode_steps = spec.max_episode_steps
        self.keys = STUDENT_KEYS[config.env.observation]
        shapes = {name: array.shape for name, array in spec.observation.items()}
        self._normalized = {
            name: shapes[name] for name in self.keys if name != "rgb" and config.network.normalize_observations
        }
        self.network = make_actor_critic(config.env, config.network, shapes, spec.action_dim)
        self.variants: Variant = stack_variants(
            [to_variant(m.variant, config.ppo, self.terms, spec.action_dim) for m in self.members]
        )
        self.guided = [index for index, member in enumerate(self.members) if member.variant.guided]
        self.sparse = [index for index in self.guided if self.members[index].variant.guidance.sparse]
        self.dense = [index for index in self.guided if index not in self.sparse]
        may_end = bool(self.guided) and all(self.members[p].variant.guidance.is_transient for p in self.guided)
        self.update_function = make_update(self.network, config.ppo, self.terms, config.guidance, may_end)
        self._update = jax.jit(self.update_function, donate_argnums=0)
        # Programs close over the network alone: a jitted function that holds the population keeps it for ever.
        self._act, self._values, self._mean_action = (
            jax.jit(functools.partial(program, self.network)) for program in (_act, _values, _mean_action)
        )

    def __len__(self) -> int:
        return len(self.members)

    def student_sees(self, observation: Observation) -> Observation:
        """The entries of an observation that the student may use."""
        return {key: observation[key] for key in self.keys}

    @functools.cached_property
    def seeds(self) -> list[int]:
        return [member.seed for member in self.members]

    def init(self) -> MemberState:
        """Fresh members; those of the same seed start from the same parameters whatever their variant.

        Members are initialised one after the other (`lax.map`): batched QR factorisations of several layers at
        once can deadlock XLA's CPU backend on few cores.
        """
        optimizer = make_optimizer(self.config.ppo)
        remembered = self.config.guidance.windows * self.config.guidance.window_iterations
        unsettled = unsettled_iterations(self.config.env, self.config.ppo.rollout_length, self._episode_steps)

        def init_member(inputs: tuple[chex.Array, Variant]) -> MemberState:
            seed, variant = inputs
            params = self.network.init(stream(seed, "parameters"))
            return MemberState(
                params=params,
                normalizer=normalization.init(self._normalized),
                opt_state=optimizer.init(params),
                key=stream(seed, "learning"),
                schedule=schedule.begin(variant.guidance, remembered, unsettled),
                diverged=jnp.zeros((), bool),
            )

        seeds = jnp.asarray(self.seeds, jnp.uint32)
        return jax.jit(lambda *members: jax.lax.map(init_member, members))(seeds, self.variants)

    def act(self, members: MemberState, observation: Observation, step: chex.Array) -> Action:
        """Samples actions for observations [P, N, ...] at the rollout's step `step`, which salts the keys."""
        return self._act(members, self.student_sees(observation), step)

    def values(self, members: MemberState, observation: Observation) -> chex.Array:
        """Values [P, N] of observations [P, N, ...]."""
        return self._values(members, self.student_sees(observation))

    def mean_action(self, members: MemberState, observation: Observation) -> chex.Array:
        """Deterministic actions [P, N, A] for observations [P, N, ...]."""
        return self._mean_action(members, self.student_sees(observation))

    def apply(self, member: MemberState, observation: Observation) -> tuple[Gaussian, chex.Array]:
        """One member's policy and values for observations [B, ...] as the environment gives them."""
        return _apply(self.network, member, observation)

    def update(
        self, members: MemberState, rollout: Transition, labels: TeacherLabels | None, progress: float
    ) -> tuple[MemberState, Metrics]:
        """One PPO update on a rollout [T, P, N, ...]; `members` is donated. Metrics are arrays [P]."""
        rollout = rollout._replace(observation=self.student_sees(rollout.observation))
        return self._update(members, self.variants, rollout, labels, jnp.float32(progress))


def _apply(network: ActorCritic, member: MemberState, observation: Observation) -> tuple[Gaussian, chex.Array]:
    return network.apply(member.params, normalization.normalize(member.normalizer, observation))


def _act(network: ActorCritic, members: MemberState, observation: Observation, step: chex.Array) -> Action:
    def act_member(member: MemberState, observation: Observation) -> Action:
        policy, value = _apply(network, member, observation)
        _, act_key, _ = iteration_keys(member.key)
        keys = jax.random.split(jax.random.fold_in(act_key, step), value.shape[0])
        action = jax.vmap(gaussian.sample)(policy, keys)
        return Action(action, jax.vmap(gaussian.log_prob)(policy, action), value)

    return network.over_members(act_member)(members, observation)


def _values(network: ActorCritic, members: MemberState, observation: Observation) -> chex.Array:
    return network.over_members(lambda member, o: _apply(network, member, o)[1])(members, observation)


def _mean_action(network: ActorCritic, members: MemberState, observation: Observation) -> chex.Array:
    return network.over_members(lambda member, o: _apply(network, member, o)[0].mean)(members, observation)
