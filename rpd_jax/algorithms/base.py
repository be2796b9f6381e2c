"""What an algorithm family is, and families by name.

A family says how members act, what a rollout must remember of that, and how they learn from it. Its functions are pure;
those of one member are vmapped by the population. `ppo.py` and `sft.py` are the library's; a user's own is registered
with its dataclass of settings:

    @dataclasses.dataclass
    class ReinforceConfig(RolloutConfig):
        name: str = "reinforce"
        baseline: bool = True

    register_algorithm("reinforce", ReinforceConfig, Reinforce.of)     # a subclass of Algorithm
    register_variant(VariantSpec("reinforce", algorithm="reinforce"))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rpd_jax.algorithms.schedules import distillation_weight, learning_rate
from rpd_jax.algorithms.variants import Variant, VariantSpec, active_terms
from rpd_jax.config import Config
from rpd_jax.config.algorithm import AlgorithmConfig
from rpd_jax.config.tagged import imported
from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.envs.base import EnvSpec
from rpd_jax.guidance import schedule
from rpd_jax.guidance.schedule import Schedule
from rpd_jax.policies import normalization
from rpd_jax.policies.base import Params, Policy, make_policy
from rpd_jax.policies.normalization import Normalizer
from rpd_jax.types import Observation

Metrics = dict[str, chex.Array]


class MemberState(NamedTuple):
    """What training changes in a member; a population's leaves have a leading axis [P]."""

    params: Params
    normalizer: Normalizer  # of observations; empty where they are not normalised
    opt_state: Any
    key: chex.PRNGKey
    schedule: Schedule | None = None  # of its guidance; None where members only act
    diverged: chex.Array | None = None  # bool: it learns no more; None where members only act


def learned(members: MemberState) -> dict[str, Any]:
    """What acting needs of members: parameters and normalisation."""
    return {"params": members.params, "normalizer": members.normalizer}


class Setup(NamedTuple):
    """What an algorithm is built from."""

    config: Config
    spec: EnvSpec
    specs: tuple[VariantSpec, ...]  # the variants of the run

    @property
    def terms(self) -> tuple[str, ...]:
        """The loss terms that any of the variants uses; the program computes no others."""
        return active_terms(self.specs)


@dataclasses.dataclass(frozen=True, eq=False)
class Algorithm:
    """Base of the families, set up for a run. P members; each acts in N environments.

    A family says in `update` how members learn, and overrides what else is different with it.
    """

    policy: Policy
    config: AlgorithmConfig
    terms: tuple[str, ...] = ()  # loss terms that need the teacher's labels; () if no teacher is queried

    plays: ClassVar[bool] = True  # False: it learns from recorded demonstrations; environments are for evaluation only
    whole_episodes: ClassVar[bool] = False  # every environment begins a new episode with every rollout
    scores: ClassVar[bool] = False  # the teacher is to give probabilities of the extras "tokens", not labels
    head: ClassVar[str] = "gaussian"  # the kind of its policies, see `policies.base.HEADS`
    pictured: ClassVar[Mapping[str, str]] = {}  # metrics of updates that a run's picture shows, and what they are
    ahead: ClassVar[tuple[str, ...]] = ()  # the extras that learning needs of true next observations too

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """Set up for a run; raises ConfigError where its policy cannot be built."""
        policy = make_policy(setup.config.env, setup.config.network, setup.spec, cls.head)
        return cls(policy, setup.config.algorithm, setup.terms if cls.plays else ())

    def prepare(self) -> None:
        """Before training, not before acting: reads what learning needs. Raises ConfigError where it is not there."""

    def init_optimizer(self, params: Params) -> Any:
        """What the optimizer remembers of one member, before its first update."""
        return make_optimizer(self.config).init(params)

    def act(
        self, member: MemberState, observation: Observation, keys: chex.Array
    ) -> tuple[chex.Array, dict[str, chex.Array]]:
        """Samples actions [N, A] of one member with a key for each environment.

        Returns:
          the actions, not clipped, and `extras`: named arrays [N, ...] that `update` will need of this step.
        """
        policy, value = apply(self.policy, member, observation)
        action = jax.vmap(lambda p, key: p.sample(key))(policy, keys)
        extras = {"log_prob": jax.vmap(lambda p, a: p.log_prob(a))(policy, action)}
        return action, extras if value is None else extras | {"value": value}

    def groups(self, num_envs: int, group_size: Any) -> Any:
        """The group of each of a member's environments, int [N]: environments of one group begin the same episodes."""
        return np.arange(num_envs)

    def look_ahead(self, member: MemberState, observation: Observation) -> dict[str, chex.Array]:
        """The extras named in `ahead`, [N, ...] for observations [N, ...]; a rollout has them as "next_" + name."""
        return {}

    def update(
        self,
        members: MemberState,
        variants: Variant,
        batch: Any,
        labels: Any,
        progress: chex.Numeric,
    ) -> tuple[MemberState, Metrics]:
        """One iteration's learning of all P members; pure.

        Args:
          members, variants: leaves [P, ...].
          batch: a `Transition` with leaves [T, P, N, ...]; for a family that does not play, transitions
            [steps, P, B, ...] of the demonstrations.
          labels: `TeacherLabels`, or `TokenScores` for a family with `scores`, [T, P, N, ...]; None if nobody asks.
          progress: of training, in [0, 1].

        Returns:
          the members and metrics [P]; "diverged" among them is 1 for a member that has stopped learning. See `settle`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how members learn")


ALGORITHMS: dict[str, Callable[[Setup], Algorithm] | str] = {
    "ppo": "rpd_jax.algorithms.ppo:PPO.of",
    "sft": "rpd_jax.algorithms.sft:SFT.of",
    "opd": "rpd_jax.algorithms.opd:OPD.of",
}
"""Family -> a function that sets it up, or "module:name" of one."""


def register_algorithm(name: str, settings: type[AlgorithmConfig], factory: Callable[[Setup], Algorithm]) -> None:
    """Makes a family available as `algorithm.name`; raises ConfigError if the name is taken by another."""
    if AlgorithmConfig.kinds.setdefault(name, settings) is not settings:
        raise ConfigError(f"algorithm {name!r} is already registered: choose another name")
    ALGORITHMS[name] = factory


def make_algorithm(setup: Setup) -> Algorithm:
    """The family that `algorithm.name` names; raises ConfigError if it is unknown or cannot work in the run."""
    name = setup.config.algorithm.name
    choice("algorithm.name", name, ALGORITHMS)
    factory = ALGORITHMS[name]
    if isinstance(factory, str):
        factory = imported(factory)
    return factory(setup)


def apply(policy: Policy, member: MemberState, observation: Observation) -> tuple[Any, chex.Array | None]:
    """One member's distributions and values for observations [B, ...] as the environment gives them."""
    return policy.apply(member.params, normalization.normalize(member.normalizer, observation))


DECAYS = (0.9, 0.999)  # of Adam's moments


def make_optimizer(config: AlgorithmConfig) -> optax.GradientTransformation:
    """Global-norm clipping and Adam's moments; `descend` makes the step."""
    return optax.chain(_clip(config.max_grad_norm), optax.scale_by_adam(*DECAYS, eps=config.adam_eps))


def _clip(max_norm: float) -> optax.GradientTransformation:
    """optax.clip_by_global_norm as one factor, which XLA does not keep gradients a second time for."""

    def clipped(grads: Params, params: Params | None) -> Params:
        norm = optax.tree.norm(grads)
        factor = jnp.where(norm < max_norm, 1.0, max_norm / norm)
        return jax.tree.map(lambda g: g * factor, grads)

    return optax.stateless(clipped)


def descend(
    algorithm: Algorithm,
    member: MemberState,
    grads: Params,
    variant: Variant,
    progress: chex.Numeric,
    moves: chex.Numeric = True,
) -> MemberState:
    """One member's step (Adam, decoupled weight decay) at the learning rate of its variant; none where not `moves`."""
    config, rate = algorithm.config, learning_rate(variant, progress)

    def kept(new: Params, old: Params) -> Params:
        return jax.tree.map(lambda new, old: jnp.where(moves, new, old), new, old)

    opt_state = kept(make_optimizer(config).update(grads, member.opt_state)[1], member.opt_state)
    # Without the barrier XLA would compute the moments anew for the parameters, from copies of what they were.
    adam = jax.lax.optimization_barrier(opt_state[1])
    means, squares = (
        optax.tree.bias_correction(moment, decay, adam.count)
        for moment, decay in zip((adam.mu, adam.nu), DECAYS, strict=True)
    )

    def step(p: chex.Array, mean: chex.Array, square: chex.Array) -> chex.Array:
        return p - rate * (mean / (jnp.sqrt(square) + config.adam_eps) + config.weight_decay * p)

    params = algorithm.policy.project(jax.tree.map(step, member.params, means, squares), variant.floats)
    return member._replace(params=kept(params, member.params), opt_state=opt_state)


def settle(members: MemberState, before: MemberState, metrics: Metrics) -> tuple[MemberState, Metrics]:
    """The end of an update: keys go on, and members whose parameters or metrics are not finite have diverged."""
    key = jax.vmap(lambda key: iteration_keys(key)[0])(before.key)
    diverged = members.diverged | ~is_finite((members.params, members.normalizer, metrics))
    return freeze(diverged, members._replace(key=key), before), metrics | {"diverged": diverged.astype(jnp.float32)}


def iteration_keys(key: chex.PRNGKey) -> chex.Array:
    """A member's keys of one iteration: [of the next iteration, of its actions, of the order of its minibatches]."""
    return jax.random.split(key, 3)


def guidance_weight(member: MemberState, variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The factor of a member's distillation coefficients at training progress in [0, 1], a scalar."""
    assert member.schedule is not None and member.diverged is not None, "members that only act have no guidance"
    weight = distillation_weight(variant, progress) * schedule.weight(member.schedule, variant.guidance)
    return jnp.where(member.diverged, 0.0, weight)


def is_finite(tree: chex.ArrayTree) -> chex.Array:
    """Which of P members, leaves [P, ...], have finite numbers only: bool [P]."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x.reshape(len(x), -1)), axis=1) for x in leaves]), axis=0)


def freeze(diverged: chex.Array, members: MemberState, before: MemberState) -> MemberState:
    """`members`, but those that have `diverged` [P] as they were `before` this update: they learn no more.

    Their keys go on, so that what they draw does not repeat.
    """
    return jax.tree.map(
        lambda new, old: jnp.where(diverged.reshape(-1, *(1,) * (new.ndim - 1)), old, new),
        members._replace(diverged=diverged),
        before._replace(key=members.key, diverged=diverged),
    )
