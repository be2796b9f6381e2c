"""A population: variants x seeds members that act and learn side by side in one program."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.algorithms.base import (
    Algorithm,
    MemberState,
    Metrics,
    Setup,
    apply,
    iteration_keys,
    make_algorithm,
)
from rpd_jax.algorithms.variants import Variant, VariantSpec, at, resolve_variants, to_phases
from rpd_jax.config import Config
from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.registry import unsettled_iterations
from rpd_jax.guidance import schedule
from rpd_jax.guidance.labeler import Askers
from rpd_jax.keys import stream
from rpd_jax.losses.terms import guided
from rpd_jax.placement import ENVS
from rpd_jax.policies import normalization
from rpd_jax.policies.base import student_keys
from rpd_jax.training.mesh import Mesh
from rpd_jax.types import Observation


class Member(NamedTuple):
    """One learner: a variant and a seed."""

    variant: VariantSpec
    seed: int


class Acted(NamedTuple):
    """What the members do in one step, leaves [P, N, ...]."""

    action: chex.Array  # [P, N, A], not clipped
    extras: dict[str, chex.Array]  # what the algorithm remembers of it


class Population:
    """The members of a run and their jitted programs.

    Nothing of a member's life depends on the others: its initial parameters, its random numbers and (through
    its seed) its environments are the same whatever population it is part of.
    """

    def __init__(self, config: Config, spec: EnvSpec, rows: slice = slice(None)) -> None:
        """The members of a config, or those `rows` of them."""
        self.config, self.spec = config, spec
        self.specs = resolve_variants(config)
        self.members = [Member(variant, seed) for variant in self.specs for seed in config.seeds][rows]
        self.algorithm: Algorithm = make_algorithm(Setup(config, spec, tuple(self.specs)))
        self.keys = student_keys(config.env, self.algorithm.policy)
        numbers = [name for name in self.keys if spec.observation[name].dtype == "float32"]  # neither frames nor tasks
        normalized = numbers if config.network.normalize_observations else []
        length = getattr(config.algorithm, "rollout_length", None)
        # Programs close over the algorithm alone: a jitted function that holds the population keeps it for ever.
        self.begin = functools.partial(
            begin,
            self.algorithm,
            {name: spec.observation[name].shape for name in normalized},
            config.guidance.windows * config.guidance.window_iterations,
            unsettled_iterations(config.env, length, spec.max_episode_steps) if length else 0,
        )
        resolved = to_phases([m.variant for m in self.members], config.algorithm, self.terms, spec.action_dim)
        self.variants: Variant = resolved  # [P, F, ...], see `variants.at`
        self.mesh = Mesh.of(len(self), config.run.devices, config.env.num_envs if config.run.split == ENVS else 0)
        self._act, self._look_ahead, self._mode = (
            jax.jit(functools.partial(program, self.algorithm)) for program in (act, look_ahead, mode)
        )
        learn = self.mesh.split(functools.partial(update, self.algorithm), (0, 0, 1, 1, None))
        self._update = jax.jit(learn, donate_argnums=0, **self.mesh.stay(False, None))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss terms that need the teacher's labels."""
        return self.algorithm.terms

    @property
    def guides(self) -> bool:
        """Whether the teacher is queried, perhaps for members of another process: all run the same program."""
        return any(guided(spec) for spec in self.specs)

    @property
    def seeds(self) -> list[int]:
        return [member.seed for member in self.members]

    def env_rows(self, num_envs: int) -> np.ndarray:
        """The number of the seed of each member's environments, int [P, N]: those of a group share theirs."""
        sizes = self.variants.floats.get("group_size", jnp.ones((len(self), 1)))[:, 0]
        return np.stack([self.algorithm.groups(num_envs, int(size)) for size in sizes])

    @functools.cached_property
    def askers(self) -> Askers:
        """How its members query the teacher."""
        length = getattr(self.config.algorithm, "rollout_length", 1)
        variants, guidance = [member.variant for member in self.members], at(self.variants, 0.0).guidance
        return Askers.of(variants, self.seeds, guidance, length)

    def student_sees(self, observation: Observation) -> Observation:
        """The entries of an observation that the student may use."""
        return {key: observation[key] for key in self.keys}

    def init(self) -> MemberState:
        """Fresh members; those of the same seed start from the same parameters whatever their variant."""
        seeds = jnp.asarray(self.seeds, jnp.uint32)
        return self.mesh.place(jax.jit(self.begin)(seeds, at(self.variants, 0.0)))

    def act(self, members: MemberState, observation: Observation, step: chex.Array) -> Acted:
        """Samples actions for observations [P, N, ...] at the rollout's step `step`, which salts the keys."""
        return self._act(members, self.student_sees(observation), step)

    def look_ahead(self, members: MemberState, observation: Observation) -> dict[str, chex.Array]:
        """What learning needs to know of true next observations [P, N, ...], see `Algorithm.look_ahead`."""
        return self._look_ahead(members, self.student_sees(observation))

    def mean_action(self, members: MemberState, observation: Observation) -> chex.Array:
        """Deterministic actions [P, N, A] for observations [P, N, ...]."""
        return self._mode(members, self.student_sees(observation))

    def apply(self, member: MemberState, observation: Observation) -> tuple[Any, chex.Array | None]:
        """One member's distributions and values for observations [B, ...] as the environment gives them."""
        return apply(self.algorithm.policy, member, observation)

    def update(self, members: MemberState, batch: Any, labels: Any, progress: float) -> tuple[MemberState, Metrics]:
        """One iteration's learning, see `Algorithm.update`; `members` is donated. Metrics are arrays [P]."""
        batch = batch._replace(observation=self.student_sees(batch.observation))
        return self._update(members, self.variants, batch, labels, jnp.float32(progress))


def begin(
    algorithm: Algorithm,
    normalized: Mapping[str, tuple[int, ...]],
    remembered: int,
    unsettled: int,
    seeds: chex.Array,
    variants: Variant,
) -> MemberState:
    """Members before their first iteration; pure.

    Args:
      normalized: the entries of observations that are normalised, and their shapes.
      remembered, unsettled: iterations whose rewards guidance remembers, and those left out first; see
        `guidance.schedule.begin`.
      seeds: uint32 [P].
      variants: leaves [P, ...].
    """

    def begin_member(seed: chex.Array, variant: Variant) -> MemberState:
        params = algorithm.policy.init(stream(seed, "parameters"))
        return MemberState(
            params=params,
            normalizer=normalization.init(dict(normalized)),
            opt_state=algorithm.init_optimizer(params),
            key=stream(seed, "learning"),
            schedule=schedule.begin(variant.guidance, remembered, unsettled),
            diverged=jnp.zeros((), bool),
        )

    return jax.lax.map(lambda inputs: begin_member(*inputs), (seeds, variants))  # networks may be large


def update(
    algorithm: Algorithm,
    members: MemberState,
    variants: Variant,
    batch: Any,
    labels: Any,
    progress: chex.Numeric,
) -> tuple[MemberState, Metrics]:
    """See `Algorithm.update`; the variants' leaves are [P, F, ...]."""
    return algorithm.update(members, at(variants, progress), batch, labels, progress)


def act(algorithm: Algorithm, members: MemberState, observation: Observation, step: chex.Array) -> Acted:
    def act_member(member: MemberState, observation: Observation) -> Acted:
        num_envs = len(next(iter(observation.values())))
        _, act_key, _ = iteration_keys(member.key)
        keys = jax.random.split(jax.random.fold_in(act_key, step), num_envs)
        return Acted(*algorithm.act(member, observation, keys))

    return algorithm.policy.over_members(act_member)(members, observation)


def look_ahead(algorithm: Algorithm, members: MemberState, observation: Observation) -> dict[str, chex.Array]:
    return algorithm.policy.over_members(algorithm.look_ahead)(members, observation)


def mode(algorithm: Algorithm, members: MemberState, observation: Observation) -> chex.Array:
    def mode_of_member(member: MemberState, observation: Observation) -> chex.Array:
        return jax.vmap(lambda distribution: distribution.mode())(apply(algorithm.policy, member, observation)[0])

    return algorithm.policy.over_members(mode_of_member)(members, observation)
