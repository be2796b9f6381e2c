"""One PPO update of a whole population: advantages, epochs and minibatches, as one jitted program.

Epochs and minibatches are scans; inside them members are a vmap. A member whose approximate KL passes its target
stops without touching the others; once all have stopped the remaining minibatches cost nothing. A member whose loss or
gradient stops being finite has diverged: it goes back to where it was before the update, and stays there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from rpd_jax.algorithms.objective import Batch, Metrics, make_batch, member_loss, metric_names
from rpd_jax.algorithms.variants import Variant, distillation_weight, learning_rate
from rpd_jax.config import GuidanceConfig, PPOConfig
from rpd_jax.guidance import schedule
from rpd_jax.guidance.schedule import Schedule
from rpd_jax.policies import normalization
from rpd_jax.policies.networks import ActorCritic, Params
from rpd_jax.policies.normalization import Normalizer
from rpd_jax.types import Observation, TeacherLabels, Transition


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


class Halt(NamedTuple):
    """Whether a member goes on learning from the minibatches of an update; leaves may carry a member axis [P]."""

    policy: chex.Array  # bool: its policy moved as far as `target_kl` allows
    all: chex.Array  # bool: it learns from no further minibatch
    diverged: chex.Array  # bool: its loss or its gradient is not finite
    kl_max: chex.Array  # largest approximate KL seen, that of the minibatch which halts it included

    def after(self, metrics: Metrics, variant: Variant, whole: bool) -> Halt:
        """After the forward and backward pass of one minibatch; `whole`: the KL ends more than the policy's part."""
        policy = self.policy | (metrics["approx_kl"] > variant.target_kl)
        diverged = self.diverged | ~jnp.isfinite(metrics["loss"]) | ~jnp.isfinite(metrics["grad_norm"])
        seen = jnp.where(self.all, self.kl_max, jnp.maximum(self.kl_max, metrics["approx_kl"]))
        return Halt(policy, self.all | diverged | (policy & whole), diverged, seen)


Update = Callable[[MemberState, Variant, Transition, TeacherLabels | None, chex.Numeric], tuple[MemberState, Metrics]]


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Global-norm clipping and Adam's direction; the learning rate is a variant's float and applied outside."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=config.adam_eps))


def iteration_keys(key: chex.PRNGKey) -> chex.Array:
    """A member's keys of one iteration: [of the next iteration, of its actions, of the order of its minibatches]."""
    return jax.random.split(key, 3)


def guidance_weight(member: MemberState, variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The factor of a member's distillation coefficients at training progress in [0, 1], a scalar."""
    assert member.schedule is not None and member.diverged is not None, "members that only act have no guidance"
    weight = distillation_weight(variant, progress) * schedule.weight(member.schedule, variant.guidance)
    return jnp.where(member.diverged, 0.0, weight)


def make_update(
    network: ActorCritic,
    config: PPOConfig,
    terms: tuple[str, ...],
    guidance: GuidanceConfig | None = None,
    may_end: bool = False,
) -> Update:
    """Builds the update program.

    The result maps (members [P], variants [P], rollout [T, P, N, ...], labels [T, P, N, ...] or None, progress in
    [0, 1]) to (members, metrics [P]). It must be jitted by the caller. `labels` may be None only if `terms`
    is empty. With `may_end` the terms are left out once no member's guidance has any weight.
    """
    optimizer, all_terms = make_optimizer(config), terms
    guidance = guidance or GuidanceConfig()
    advance = functools.partial(
        schedule.advance, windows=guidance.windows, attainable=guidance.attainable_reward or 1.0
    )

    def minibatch_step(
        terms: tuple[str, ...],
        progress: chex.Numeric,
        member: MemberState,
        halt: Halt,
        variant: Variant,
        batch: Batch,
    ) -> tuple[MemberState, Halt, Metrics]:
        weight = guidance_weight(member, variant, progress)
        loss = functools.partial(
            member_loss, network=network, config=config, terms=terms, variant=variant, weight=weight, batch=batch
        )
        grads, metrics = jax.grad(loss, has_aux=True)(member.params, halted=halt.policy, progress=progress)
        metrics["grad_norm"] = optax.tree.norm(grads)
        halt = halt.after(metrics, variant, whole=config.kl_stop == "update")
        direction, opt_state = optimizer.update(grads, member.opt_state)
        rate = learning_rate(variant, progress)
        params = network.project(jax.tree.map(lambda p, d: p - rate * d, member.params, direction))
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(halt.all, old, new),
            (params, opt_state),
            (member.params, member.opt_state),
        )
        return member._replace(params=params, opt_state=opt_state), halt, metrics

    def epochs(
        terms: tuple[str, ...],
        progress: chex.Numeric,
        members: MemberState,
        variants: Variant,
        batch: Batch,
        shuffles: chex.Array,
    ) -> tuple[MemberState, Halt, Metrics, chex.Array]:
        """All minibatches; returns (members, why they halted, sums of metrics [P], minibatches learnt from [P])."""

        def run(carry: tuple, indices: chex.Array) -> tuple:
            members, halt, totals, applied = carry
            minibatch = _rows(batch, indices)
            step = network.over_members(functools.partial(minibatch_step, terms, progress))
            members, halt, metrics = step(members, halt, variants, minibatch)
            totals |= {name: totals[name] + jnp.where(halt.all, 0.0, m) for name, m in metrics.items()}
            return members, halt, totals, applied + 1.0 - halt.all.astype(jnp.float32)

        def scan_body(carry: tuple, indices: chex.Array) -> tuple[tuple, None]:
            everyone_halted = jnp.all(carry[1].all)
            return jax.lax.cond(everyone_halted, lambda c, _: c, run, carry, indices), None

        zeros = jnp.zeros(len(members.key))
        halt = Halt(policy=zeros > 0, all=members.diverged, diverged=members.diverged, kl_max=zeros)
        carry = (members, halt, {name: zeros for name in metric_names(all_terms)}, zeros)
        (members, halt, totals, applied), _ = jax.lax.scan(scan_body, carry, shuffles)

        def can_go_on(params: Params, observation: Observation) -> chex.Array:
            """Whether a loss would be finite after the last step, whose outcome nobody has seen yet."""
            policy, value = network.apply(params, observation)
            numbers = jnp.concatenate([policy.mean, policy.std, 1.0 / policy.std, value[:, None]], axis=1)
            return jnp.all(jnp.isfinite(jnp.square(numbers)))

        one = jax.tree.map(lambda x: x[:, :1], batch.observation)
        fine = network.over_members(can_go_on)(members.params, one)
        return members, halt._replace(diverged=halt.diverged | ~fine), totals, applied

    def update(
        members: MemberState,
        variants: Variant,
        rollout: Transition,
        labels: TeacherLabels | None,
        progress: chex.Numeric,
    ) -> tuple[MemberState, Metrics]:
        before = members
        batch = jax.vmap(lambda v, r, lab: make_batch(config, v, r, lab), in_axes=(0, 1, 1))(variants, rollout, labels)
        renewed = jax.vmap(normalization.update)(members.normalizer, batch.observation)
        batch = batch._replace(observation=jax.vmap(normalization.normalize)(members.normalizer, batch.observation))
        num_members, batch_size = batch.advantage.shape
        size = batch_size // config.minibatches
        key, _, shuffle_key = jnp.moveaxis(jax.vmap(iteration_keys)(members.key), 1, 0)
        split = jax.vmap(lambda key: jax.random.split(key, config.epochs))(shuffle_key)
        shuffles = jax.vmap(jax.vmap(lambda key: _shuffle(key, batch_size, config.minibatches)))(split)
        # [P, epochs, minibatches, size] -> [epochs * minibatches, P, size]
        shuffles = jnp.moveaxis(shuffles.reshape(num_members, -1, size), 0, 1)

        weights = jax.vmap(guidance_weight, in_axes=(0, 0, None))(members, variants, progress)
        learn = functools.partial(epochs, all_terms, progress)
        if may_end:  # then the terms cost nothing, either
            taught = jnp.any((weights > 0) & jnp.any(variants.coefficients > 0, axis=1))
            learn = functools.partial(jax.lax.cond, taught, learn, functools.partial(epochs, (), progress))
        members, halt, totals, applied = learn(members, variants, batch, shuffles)

        metrics = {name: total / jnp.maximum(applied, 1.0) for name, total in totals.items()}
        metrics["kl_max"] = halt.kl_max
        metrics["updates_applied"] = applied / shuffles.shape[0]
        metrics["distill_weight"] = weights
        metrics["rollout_reward"] = jnp.mean(rollout.reward, axis=(0, 2))
        scheduled = jax.vmap(advance)(members.schedule, variants.guidance, metrics["rollout_reward"])
        metrics["explained_variance"] = jax.vmap(_explained_variance)(batch.value, batch.target)
        members = members._replace(normalizer=renewed, schedule=scheduled)
        diverged = halt.diverged | ~_is_finite((members.params, members.normalizer, members.schedule))
        members = jax.tree.map(
            lambda new, old: jnp.where(diverged.reshape(-1, *(1,) * (new.ndim - 1)), old, new),
            members._replace(key=key, diverged=diverged),
            before._replace(key=key, diverged=diverged),
        )
        return members, metrics | {"diverged": diverged.astype(jnp.float32)}

    return update


def _rows(batch: Batch, indices: chex.Array) -> Batch:
    """Each member's minibatch [P, B, ...] of its batch, by indices [P, B]."""
    return jax.vmap(lambda leaves, i: jax.tree.map(lambda x: x[i], leaves))(batch, indices)


def _is_finite(tree: chex.ArrayTree) -> chex.Array:
    """Which of P members, leaves [P, ...], have finite numbers only: bool [P]."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x.reshape(len(x), -1)), axis=1) for x in leaves]), axis=0)


def _shuffle(key: chex.PRNGKey, batch_size: int, minibatches: int) -> chex.Array:
    """Indices [minibatches, batch_size // minibatches] of one epoch; the remainder is left out."""
    size = batch_size // minibatches
    return jax.random.permutation(key, batch_size)[: minibatches * size].reshape(minibatches, size)


def _explained_variance(value: chex.Array, target: chex.Array) -> chex.Array:
    """1 - Var(R - V) / Var(R) over a batch [B]; 0 where the targets do not vary."""
    variance = jnp.var(target)
    return jnp.where(variance > 1e-12, 1.0 - jnp.var(target - value) / jnp.maximum(variance, 1e-12), 0.0)
