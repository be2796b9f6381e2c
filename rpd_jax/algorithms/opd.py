"""VLA-OPD (arXiv 2603.26666): a token policy learns from a teacher's probabilities of its own tokens, and from success.

    play    B initial states x G trajectories: whole episodes, tokens sampled at a temperature     act
    score   the teacher's distribution at every state that the student visited                     guidance.labeler
    batch   <- advantages of each trajectory in its group, weights of tokens                       opd_loss.make_batch
    repeat, for each epoch's minibatches (a scan; inside it members are a vmap):
        loss  <- sum_k c_k mean of objective_k over tokens                                         opd_loss.loss
        step  <- Adam on the mean gradient of the last `accumulate` minibatches                    step

Objectives are data: coefficients of the terms in `losses.tokens`, which may change from phase to phase ("distill, then
reinforce"). So all of them, their seeds and their group sizes learn side by side.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rpd_jax.algorithms.base import (
    Algorithm,
    MemberState,
    Metrics,
    Setup,
    descend,
    guidance_weight,
    iteration_keys,
    settle,
)
from rpd_jax.algorithms.minibatches import shuffle
from rpd_jax.algorithms.opd_loss import INPUTS, Batch, Rollout, loss, make_batch, position_names
from rpd_jax.algorithms.variants import Variant, VariantSpec
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.config.validation import ConfigError, require
from rpd_jax.config.variant import PhaseSpec
from rpd_jax.demonstrations.transitions import Demonstrations, draw, load
from rpd_jax.losses.terms import TERMS, check_inputs, guided
from rpd_jax.losses.tokens import log_probs, token_reverse_kl
from rpd_jax.placement import spread
from rpd_jax.policies import normalization
from rpd_jax.policies.base import Params, in_turn, student_keys
from rpd_jax.types import Observation, TokenScores, Transition


class Optimizer(NamedTuple):
    """What a member's optimizer remembers."""

    adam: Any
    start: Params  # the parameters that training began with, for the KL to them
    phase: chex.Array  # when the phase began that `adam` is of, training progress


def step(
    opd: OPD,
    progress: chex.Numeric,
    member: MemberState,
    pending: Params,
    variant: Variant,
    batch: Batch,
    demonstrated: Any,
    index: chex.Array,
) -> tuple[MemberState, Params, Metrics]:
    """One member's minibatch number `index`: its gradient is added to `pending`, and perhaps a step is made of that.

    A gradient that is exactly zero (no group has both successes and failures) makes none: Adam would go on by momentum.
    """
    weight = guidance_weight(member, variant, progress)
    grads, metrics = jax.grad(loss, has_aux=True)(member.params, opd.policy, opd.config, opd.terms, variant, weight,
                                                  batch, demonstrated)  # fmt: skip
    metrics["grad_norm"] = optax.tree.norm(grads)
    due: chex.Numeric = True
    if opd.accumulates:
        pending = jax.tree.map(jnp.add, pending, grads)
        due = (index + 1) % variant.floats["accumulate"] == 0
        grads = jax.tree.map(lambda g: g / variant.floats["accumulate"], pending)
        pending = jax.tree.map(lambda g: jnp.where(due, 0.0, g), pending)
    inner = member._replace(opt_state=member.opt_state.adam)
    stepped = descend(opd, inner, grads, variant, progress)
    stepped = stepped._replace(opt_state=member.opt_state._replace(adam=stepped.opt_state))
    moves = due & (optax.tree.norm(grads) != 0.0)  # NaN moves too, and is seen to diverge
    member = jax.tree.map(lambda new, old: jnp.where(moves, new, old), stepped, member)
    return member, pending, metrics


@dataclasses.dataclass(frozen=True, eq=False)
class OPD(Algorithm):
    """The family; see `base.Algorithm`."""

    config: OPDConfig
    reads: Callable[[], Demonstrations] | None = None  # demonstrations, where any variant imitates
    tasks: int = 1  # row n of an environment vector has task n % tasks
    positions: tuple[str, ...] = ()  # what each token of an action is about, [A]
    accumulates: bool = True  # whether any variant makes fewer steps than there are minibatches

    head = "tokens"
    scores = True
    whole_episodes = True
    pictured: ClassVar[Mapping[str, str]] = {
        "success": "success of sampled actions",
        "entropy": "entropy of the student (nats a token)",
        "reverse_kl": "KL(student || teacher) (nats a token)",
        "forward_kl": "KL(teacher || student) (nats a token)",
        "mixed_groups": "share of groups with successes and failures",
        "kl_to_start": "KL(student || its start) (nats a token)",
    }

    @classmethod
    def of(cls, setup: Setup) -> Self:
        config, algorithm = setup.config, cast(OPDConfig, setup.config.algorithm)
        check_inputs(setup.terms, INPUTS)
        for spec in setup.specs:
            check_variant(spec, algorithm, config.env.num_envs, max(len(setup.spec.instructions), 1))
        steps = setup.spec.max_episode_steps
        require(algorithm.rollout_length == steps, "algorithm.rollout_length", algorithm.rollout_length,
                f"{steps}, the steps of an episode of {setup.spec.name}: each iteration plays whole ones")  # fmt: skip
        require(not config.env.random_ages, "env.random_ages", True, "None or False: whole episodes are played")
        imitates = any("demonstrated_log_prob" in TERMS[name].inputs for name in setup.terms)
        made = super().of(setup)
        reads = functools.partial(load, config, setup.spec, student_keys(config.env, made.policy))
        return dataclasses.replace(
            made,
            reads=reads if imitates else None,
            tasks=max(len(setup.spec.instructions), 1),
            positions=position_names(setup.spec.action_dim),
            accumulates=any(_accumulate(phase, algorithm) > 1 for spec in setup.specs for phase in spec.every_phase),
        )

    @functools.cached_property
    def demonstrations(self) -> Demonstrations | None:
        return jax.device_put(self.reads()) if self.reads else None

    def prepare(self) -> None:
        _ = self.demonstrations

    def init_optimizer(self, params: Params) -> Optimizer:
        return Optimizer(super().init_optimizer(params), params, jnp.zeros(()))

    def groups(self, num_envs: int, group_size: Any) -> Any:
        """The group of each of a member's environments, int [N]: those of one share the task and initial states."""
        index = np.arange(num_envs)
        return (index // self.tasks // group_size) * self.tasks + index % self.tasks

    def act(
        self, member: MemberState, observation: Observation, keys: chex.Array
    ) -> tuple[chex.Array, dict[str, chex.Array]]:
        """Samples tokens at the temperature; the extras are "tokens" and their "log_prob", both [N, A]."""
        normalized = normalization.normalize(member.normalizer, observation)
        policy, tokens = self.policy.draw(member.params, normalized, keys, self.config.temperature)
        chosen = jax.vmap(lambda p, tokens: p.token_log_probs(tokens))(policy, tokens)
        return jax.vmap(lambda p, tokens: p.decode(tokens))(policy, tokens), {"tokens": tokens, "log_prob": chosen}

    def update(
        self,
        members: MemberState,
        variants: Variant,
        rollout: Transition,
        labels: TokenScores | None,
        progress: chex.Numeric,
    ) -> tuple[MemberState, Metrics]:
        """See `base.Algorithm.update`; `labels` are the teacher's scores along the tokens, [T, P, N, A, ...].

        The normaliser of observations stays as training began with it: another one would be another policy.
        """
        before, config = members, self.config
        assert rollout.success is not None, "rollouts of families with whole episodes have it"
        group = jax.vmap(lambda size: jnp.asarray(self.groups(rollout.reward.shape[2], size)))(
            variants.floats["group_size"]
        )
        played = Rollout(rollout.observation, rollout.extras, rollout.success, rollout.terminated, rollout.truncated)
        # Members are the rollout's second axis; from here on they come first.
        batch, summary = jax.vmap(functools.partial(make_batch, config), in_axes=(0, 1, 1, 0))(
            variants, played, labels, group
        )
        batch = batch._replace(observation=jax.vmap(normalization.normalize)(members.normalizer, batch.observation))
        shuffle_key, demonstration_key = jnp.moveaxis(jax.vmap(_keys)(members.key), 1, 0)
        size = batch.weight.shape[1]
        order = jax.vmap(lambda key: shuffle(key, config.epochs, size, config.minibatches))(shuffle_key)
        demonstrated = self._demonstrated(members, variants, demonstration_key, order.shape[1])
        members = members._replace(opt_state=jax.vmap(self._of_phase)(members, variants))
        demonstrated = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), demonstrated)
        learn = in_turn(self.policy)(functools.partial(self._learn, progress))
        members, metrics = learn(members, variants, batch, order, demonstrated)
        kl = metrics.pop("kl_of_tokens")  # [P, A]
        for name in dict.fromkeys(self.positions):
            mine = np.flatnonzero(np.array(self.positions) == name)
            metrics[f"kl_{name}"] = jnp.mean(kl[:, mine], axis=1)
        checked = {name: metrics[name] for name in ("loss", "grad_norm")}  # others are NaN where nothing was asked
        members, settled = settle(members, before, checked)
        weights = jax.vmap(guidance_weight, in_axes=(0, 0, None))(members, variants, progress) * variants.asks
        return members, metrics | summary | settled | {"distill_weight": weights}

    def _learn(
        self,
        progress: chex.Numeric,
        member: MemberState,
        variant: Variant,
        batch: Batch,
        order: chex.Array,
        demonstrated: Any,
    ) -> tuple[MemberState, Metrics]:
        """One member's minibatches one after the other; metrics are means over them.

        Args:
          batch: leaves [T * N, ...].
          order: of the rows of each minibatch, int [minibatches, B].
          demonstrated: transitions [minibatches, B', ...], or None.
        """

        def rows(indices: chex.Array) -> Batch:
            return spread(jax.tree.map(lambda x: x[indices], batch))

        def learn(carry: tuple, given: tuple) -> tuple[tuple, Metrics]:
            member, pending = carry
            index, indices, shown = given
            member, pending, metrics = step(self, progress, member, pending, variant, rows(indices), shown, index)
            return (member, pending), metrics

        pending = jax.tree.map(jnp.zeros_like, member.params) if self.accumulates else ()
        (member, _), found = jax.lax.scan(learn, (member, pending), (jnp.arange(len(order)), order, demonstrated))
        metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), found)
        return member, metrics | {"kl_to_start": self._kl_to_start(member, rows(order[0]))}

    def _of_phase(self, member: MemberState, variant: Variant) -> Optimizer:
        """A member's optimizer, begun anew where a phase begins.

        Gradients of GRPO are a hundred times smaller than those of a KL: the moments of the phase before would make its
        steps as much too small, for a thousand steps.
        """
        optimizer = member.opt_state
        fresh = optimizer._replace(adam=super().init_optimizer(member.params), phase=variant.begin)
        begins = variant.begin != optimizer.phase
        return jax.tree.map(lambda new, old: jnp.where(begins, new, old), fresh, optimizer)

    def _demonstrated(self, members: MemberState, variants: Variant, keys: chex.Array, minibatches: int) -> Any:
        """Demonstrated transitions [minibatches, P, batch_size, ...] with normalised observations; None without."""
        if self.demonstrations is None:
            return None
        shape = (minibatches, self.config.batch_size)
        found = draw(self.demonstrations, keys, variants.floats["episodes"], shape)
        normalize = jax.vmap(normalization.normalize, in_axes=(0, 1), out_axes=1)
        return found._replace(observation=normalize(members.normalizer, found.observation))

    def _kl_to_start(self, member: MemberState, batch: Batch) -> chex.Array:
        """KL(student || student that training began with), in nats a token, over a minibatch: a scalar."""
        now, then = (
            log_probs(self.policy.given(params, batch.observation, batch.tokens).logits, self.config.temperature)
            for params in (member.params, member.opt_state.start)
        )
        tokens = jax.vmap(jax.vmap(token_reverse_kl))(now, then)
        return jnp.sum(jnp.mean(tokens, axis=1) * batch.seen) / jnp.maximum(jnp.sum(batch.seen), 1.0)


def check_variant(spec: VariantSpec, config: OPDConfig, num_envs: int, tasks: int) -> None:
    """Raises ConfigError for a variant that cannot work with these settings of its family."""
    where = f"variant {spec.name!r}: "
    require(not (guided(spec) and spec.guidance.sparse), f"{where}queries", spec.guidance.queries, "'all'")
    steps, sizes = config.epochs * config.minibatches, set()
    for phase in spec.every_phase:
        size = int(phase.overrides.get("group_size") or config.group_size)
        accumulate = _accumulate(phase, config)
        sizes.add(size)
        right = f"a divisor of env.num_envs={num_envs}" + (f" / {tasks} tasks" if tasks > 1 else "")
        require(num_envs % (size * tasks) == 0, f"{where}group_size", size, right)
        right = f"a divisor of algorithm.epochs x algorithm.minibatches = {steps}"
        require(steps % accumulate == 0, f"{where}accumulate", accumulate, right)
        right = f"{steps}: its reward is frozen and diverges over several steps; reverse_kl_clipped allows them"
        frozen = phase.terms.get("reverse_kl_sampled", 0.0) > 0
        require(not frozen or accumulate == steps, f"{where}accumulate with reverse_kl_sampled", accumulate, right)
        compares = phase.terms.get("grpo", 0.0) > 0
        require(not compares or size > 1, f"{where}group_size with grpo", size, "at least 2, to be compared")
        if not any(coefficient > 0 for coefficient in phase.terms.values()):
            raise ConfigError(f"{where}terms={phase.terms!r} cannot work: it has no objective")
    require(len(sizes) == 1, f"{where}group_size", sorted(sizes), "the same in all phases: it decides about seeds")


def _accumulate(phase: PhaseSpec, config: OPDConfig) -> int:
    return int(phase.overrides.get("accumulate") or config.accumulate)


def _keys(key: chex.PRNGKey) -> chex.Array:
    """Of the order of the minibatches, and of demonstrations."""
    return jax.random.split(iteration_keys(key)[2])
