"""One PPO update of a whole population: advantages, epochs and minibatches, as one jitted program.

Epochs and minibatches are scans; inside them members are a vmap. A member whose approximate KL passes its target
stops without touching the others; once all have stopped the remaining minibatches cost nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from rpd_jax import distributions, normalization
from rpd_jax.advantages import ESTIMATORS
from rpd_jax.config import GuidanceConfig, PPOConfig
from rpd_jax.distributions import Gaussian
from rpd_jax.guidance import schedule
from rpd_jax.guidance.schedule import Schedule
from rpd_jax.losses import distill, ppo
from rpd_jax.losses.variants import Variant, distillation_weight, learning_rate
from rpd_jax.networks import ActorCritic, Params
from rpd_jax.normalization import Normalizer
from rpd_jax.types import Observation, TeacherLabels, Transition

Metrics = dict[str, chex.Array]


class MemberState(NamedTuple):
    """What training changes in a member; a population's leaves have a leading axis [P]."""

    params: Params
    normalizer: Normalizer  # of observations; empty where they are not normalised
    opt_state: Any
    key: chex.PRNGKey
    schedule: Schedule | None = None  # of its guidance; None where members only act


def learned(members: MemberState) -> dict[str, Any]:
    """What acting needs of members: parameters and normalisation."""
    return {"params": members.params, "normalizer": members.normalizer}


class Batch(NamedTuple):
    """Transitions of one member as the losses see them, leaves [B, ...]."""

    observation: Observation
    action: chex.Array
    log_prob: chex.Array
    value: chex.Array
    advantage: chex.Array
    target: chex.Array  # of the value function
    teacher: Gaussian | None
    valid: chex.Array | None  # whether `teacher` may be used


Update = Callable[[MemberState, Variant, Transition, TeacherLabels | None, chex.Numeric], tuple[MemberState, Metrics]]


def make_optimizer(config: PPOConfig) -> optax.GradientTransformation:
    """Global-norm clipping and Adam's direction; the learning rate is a variant's float and applied outside."""
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=config.adam_eps))


def guidance_weight(member: MemberState, variant: Variant, progress: chex.Numeric) -> chex.Array:
    """The factor of a member's distillation coefficients at training progress in [0, 1], a scalar."""
    assert member.schedule is not None, "members that only act have no guidance"
    return distillation_weight(variant, progress) * schedule.weight(member.schedule, variant.guidance)


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
        stopped: chex.Array,
        variant: Variant,
        batch: Batch,
    ) -> tuple[MemberState, chex.Array, Metrics]:
        weight = guidance_weight(member, variant, progress)
        grads, metrics = jax.grad(member_loss, has_aux=True)(
            member.params, network, config, terms, variant, weight, batch
        )
        stopped = jnp.logical_or(stopped, metrics["approx_kl"] > variant.target_kl)
        metrics["grad_norm"] = optax.tree.norm(grads)
        direction, opt_state = optimizer.update(grads, member.opt_state)
        rate = learning_rate(variant, progress)
        params = jax.tree.map(lambda p, d: p - rate * d, member.params, direction)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(stopped, old, new),
            (params, opt_state),
            (member.params, member.opt_state),
        )
        return member._replace(params=params, opt_state=opt_state), stopped, metrics

    def epochs(
        terms: tuple[str, ...],
        progress: chex.Numeric,
        members: MemberState,
        variants: Variant,
        batch: Batch,
        shuffles: chex.Array,
    ) -> tuple[MemberState, Metrics, chex.Array]:
        """All minibatches; returns (members, sums of metrics [P], minibatches that each member learnt from [P])."""

        def run(carry: tuple, indices: chex.Array) -> tuple:
            members, stopped, totals, applied = carry
            minibatch = jax.vmap(lambda leaves, i: jax.tree.map(lambda x: x[i], leaves))(batch, indices)
            step = network.over_members(functools.partial(minibatch_step, terms, progress))
            members, stopped, metrics = step(members, stopped, variants, minibatch)
            totals |= {name: totals[name] + jnp.where(stopped, 0.0, m) for name, m in metrics.items()}
            return members, stopped, totals, applied + 1.0 - stopped.astype(jnp.float32)

        def scan_body(carry: tuple, indices: chex.Array) -> tuple[tuple, None]:
            everyone_stopped = jnp.all(carry[1])
            return jax.lax.cond(everyone_stopped, lambda c, _: c, run, carry, indices), None

        zeros = jnp.zeros(len(members.key))
        carry = (members, zeros > 0, {name: zeros for name in _metric_names(all_terms)}, zeros)
        (members, _, totals, applied), _ = jax.lax.scan(scan_body, carry, shuffles)
        return members, totals, applied

    def update(
        members: MemberState,
        variants: Variant,
        rollout: Transition,
        labels: TeacherLabels | None,
        progress: chex.Numeric,
    ) -> tuple[MemberState, Metrics]:
        batch = jax.vmap(lambda v, r, lab: make_batch(config, v, r, lab), in_axes=(0, 1, 1))(variants, rollout, labels)
        renewed = jax.vmap(normalization.update)(members.normalizer, batch.observation)
        batch = batch._replace(observation=jax.vmap(normalization.normalize)(members.normalizer, batch.observation))
        num_members, batch_size = batch.advantage.shape
        size = batch_size // config.minibatches
        split = jax.vmap(lambda key: jax.random.split(key, config.epochs + 1))(members.key)
        members = members._replace(key=split[:, 0])
        shuffles = jax.vmap(jax.vmap(lambda key: _shuffle(key, batch_size, config.minibatches)))(split[:, 1:])
        # [P, epochs, minibatches, size] -> [epochs * minibatches, P, size]
        shuffles = jnp.moveaxis(shuffles.reshape(num_members, -1, size), 0, 1)

        weights = jax.vmap(guidance_weight, in_axes=(0, 0, None))(members, variants, progress)
        learn = functools.partial(epochs, all_terms, progress)
        if may_end:  # then the terms cost nothing, either
            taught = jnp.any((weights > 0) & jnp.any(variants.coefficients > 0, axis=1))
            learn = functools.partial(jax.lax.cond, taught, learn, functools.partial(epochs, (), progress))
        members, totals, applied = learn(members, variants, batch, shuffles)

        metrics = {name: total / jnp.maximum(applied, 1.0) for name, total in totals.items()}
        metrics["updates_applied"] = applied / shuffles.shape[0]
        metrics["distill_weight"] = weights
        metrics["rollout_reward"] = jnp.mean(rollout.reward, axis=(0, 2))
        scheduled = jax.vmap(advance)(members.schedule, variants.guidance, metrics["rollout_reward"])
        metrics["explained_variance"] = jax.vmap(_explained_variance)(batch.value, batch.target)
        return members._replace(normalizer=renewed, schedule=scheduled), metrics

    return update


def make_batch(config: PPOConfig, variant: Variant, rollout: Transition, labels: TeacherLabels | None) -> Batch:
    """Advantages and value targets of one member's rollout [T, N, ...], flattened to [T * N, ...]."""
    estimate = ESTIMATORS[config.advantage]

    def one_environment(r: Transition) -> chex.Array:
        return estimate(
            r.reward,
            r.value,
            r.next_value,
            r.terminated,
            r.truncated,
            variant.gamma,
            variant.gae_lambda,
            config.bootstrap_terminated,
        )

    advantage = jax.vmap(one_environment, in_axes=1, out_axes=1)(rollout._replace(observation={}))
    teacher = None if labels is None else Gaussian(labels.action, jnp.log(labels.std))
    batch = Batch(
        observation=rollout.observation,
        action=rollout.action,
        log_prob=rollout.log_prob,
        value=rollout.value,
        advantage=advantage,
        target=advantage + rollout.value,
        teacher=teacher,
        valid=None if labels is None else labels.valid,
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)


def member_loss(
    params: Params,
    network: ActorCritic,
    config: PPOConfig,
    terms: tuple[str, ...],
    variant: Variant,
    weight: chex.Array,
    batch: Batch,
) -> tuple[chex.Array, Metrics]:
    """PPO's loss plus the weighted distillation terms on one minibatch [B]; returns (loss, metrics).

    L = L_clip - c_e H + c_v L_value + weight * sum_k coefficient_k * mean over valid labels of term_k.
    """
    policy, value = network.apply(params, batch.observation)
    log_ratio = jax.vmap(distributions.log_prob)(policy, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = ppo.normalize(batch.advantage) if config.normalize_advantage else batch.advantage
    surrogate = jax.vmap(ppo.clipped_surrogate, in_axes=(0, 0, None))(ratio, advantage, variant.clip_ratio)
    value_losses = jax.vmap(ppo.value_loss, in_axes=(0, 0, 0, None))(
        value, batch.value, batch.target, config.value_clip
    )
    metrics = {
        "policy_loss": jnp.mean(surrogate),
        "value_loss": jnp.mean(value_losses),
        "entropy": jnp.mean(jax.vmap(distributions.entropy)(policy)),
        "approx_kl": jnp.mean(ppo.approximate_kl(log_ratio)),
        "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > variant.clip_ratio).astype(jnp.float32)),
        "std": jnp.mean(policy.std),
    }
    loss = (
        metrics["policy_loss"] - variant.entropy_coef * metrics["entropy"] + variant.value_coef * metrics["value_loss"]
    )
    if terms:
        assert batch.teacher is not None and batch.valid is not None, "distillation terms need labels"
        context = distill.Context(policy, batch.teacher, ratio, variant.clip_ratio)
        axes = distill.Context(0, 0, 0, None)
        for k, term in enumerate(terms):
            per_dim = jax.vmap(distill.TERMS[term].loss, in_axes=(axes,))(context)
            metrics[f"distill_{term}"] = distill.masked_mean(jnp.sum(per_dim, axis=-1), batch.valid)
            loss = loss + weight * variant.coefficients[k] * metrics[f"distill_{term}"]
    metrics["loss"] = loss
    return loss, metrics


def _metric_names(terms: tuple[str, ...]) -> list[str]:
    names = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "std", "loss", "grad_norm"]
    return names + [f"distill_{term}" for term in terms]


def _shuffle(key: chex.PRNGKey, batch_size: int, minibatches: int) -> chex.Array:
    """Indices [minibatches, batch_size // minibatches] of one epoch; the remainder is left out."""
    size = batch_size // minibatches
    return jax.random.permutation(key, batch_size)[: minibatches * size].reshape(minibatches, size)


def _explained_variance(value: chex.Array, target: chex.Array) -> chex.Array:
    """1 - Var(R - V) / Var(R) over a batch [B]; 0 where the targets do not vary."""
    variance = jnp.var(target)
    return jnp.where(variance > 1e-12, 1.0 - jnp.var(target - value) / jnp.maximum(variance, 1e-12), 0.0)
