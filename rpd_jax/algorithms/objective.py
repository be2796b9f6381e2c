"""The objective of one member: its rollout as a batch, and the loss of a minibatch of it."""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.advantages import ESTIMATORS
from rpd_jax.algorithms.variants import Variant, entropy_coef
from rpd_jax.config import PPOConfig
from rpd_jax.losses import distill, ppo
from rpd_jax.policies import gaussian
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.policies.networks import ActorCritic, Params
from rpd_jax.types import Observation, TeacherLabels, Transition

Metrics = dict[str, chex.Array]


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
    teacher = None
    if labels is not None:  # what is not valid may be anything, and NaN times zero is NaN in a gradient
        valid = labels.valid[..., None]
        teacher = Gaussian(jnp.where(valid, labels.action, 0.0), jnp.log(jnp.where(valid, labels.std, 1.0)))
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
    progress: chex.Numeric,
    halted: chex.Array | bool = False,
) -> tuple[chex.Array, Metrics]:
    """PPO's loss plus the weighted distillation terms on one minibatch [B]; returns (loss, metrics).

    L = L_clip - c_e H + c_v L_value + weight * sum_k coefficient_k * mean of term_k, over supervised steps or over all.

    The first two terms are left out where the policy is `halted` or this minibatch's approximate KL halts it, with
    `kl_stop="surrogate"`: so the KL limits what PPO does and leaves the teacher's pull alone.
    """
    policy, value = network.apply(params, batch.observation)
    log_ratio = jax.vmap(gaussian.log_prob)(policy, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = ppo.normalize(batch.advantage) if config.normalize_advantage else batch.advantage
    surrogate = jax.vmap(ppo.clipped_surrogate, in_axes=(0, 0, None))(ratio, advantage, variant.clip_ratio)
    value_losses = jax.vmap(ppo.value_loss, in_axes=(0, 0, 0, None))(
        value, batch.value, batch.target, config.value_clip
    )
    metrics = {
        "policy_loss": jnp.mean(surrogate),
        "value_loss": jnp.mean(value_losses),
        "entropy": jnp.mean(jax.vmap(gaussian.entropy)(policy)),
        "approx_kl": jnp.mean(ppo.approximate_kl(log_ratio)),
        "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > variant.clip_ratio).astype(jnp.float32)),
        "std": jnp.mean(policy.std),
    }
    own = metrics["policy_loss"] - entropy_coef(variant, progress) * metrics["entropy"]
    if config.kl_stop == "surrogate":
        own = jnp.where(halted | (metrics["approx_kl"] > variant.target_kl), 0.0, own)
    loss = own + variant.value_coef * metrics["value_loss"]
    if terms:
        assert batch.teacher is not None and batch.valid is not None, "distillation terms need labels"
        context = distill.Context(policy, batch.teacher, ratio, variant.clip_ratio)
        axes = distill.Context(0, 0, 0, None)
        for k, term in enumerate(terms):
            per_dim = jax.vmap(distill.TERMS[term].loss, in_axes=(axes,))(context)
            size = distill.masked_mean(jnp.sum(per_dim, axis=-1), batch.valid, variant.guidance.over_all)
            loss = loss + weight * variant.coefficients[k] * size
            averaged = distill.TERMS[term].reduction == "mean"
            metrics[f"distill_{term}"] = size / per_dim.shape[-1] if averaged else size
    metrics["loss"] = loss
    return loss, metrics


def metric_names(terms: tuple[str, ...]) -> list[str]:
    """What a minibatch's metrics are called, "grad_norm" included, which is known after the backward pass."""
    names = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "std", "loss", "grad_norm"]
    return names + [f"distill_{term}" for term in terms]
