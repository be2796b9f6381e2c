"""PPO's objective for one member: its rollout as a batch, and the loss of a minibatch of it."""

from __future__ import annotations

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.advantages import ESTIMATORS
from rpd_jax.algorithms.base import Metrics
from rpd_jax.algorithms.schedules import entropy_coef
from rpd_jax.algorithms.variants import Variant
from rpd_jax.config import PPOConfig
from rpd_jax.losses import ppo as losses
from rpd_jax.losses.terms import TERMS, masked_mean
from rpd_jax.policies.base import Params, Policy
from rpd_jax.policies.gaussian import Gaussian
from rpd_jax.types import Observation, TeacherLabels, Transition

INPUTS = ("student", "student_mean", "teacher", "teacher_action", "ratio", "clip_ratio")
"""What a distillation term may look at, by the names of its arguments."""


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
    value = rollout.extras["value"]
    estimate = functools.partial(
        ESTIMATORS[config.advantage],
        gamma=variant.floats["gamma"],
        lam=variant.floats["gae_lambda"],
        bootstrap_terminated=config.bootstrap_terminated,
    )
    # An environment's steps are one trajectory [T]; environments are the second axis.
    advantage = jax.vmap(estimate, in_axes=1, out_axes=1)(
        rollout.reward, value, rollout.extras["next_value"], rollout.terminated, rollout.truncated
    )
    teacher = None
    if labels is not None:  # what is not valid may be anything, and NaN times zero is NaN in a gradient
        valid = labels.valid[..., None]
        teacher = Gaussian(jnp.where(valid, labels.action, 0.0), jnp.log(jnp.where(valid, labels.std, 1.0)))
    batch = Batch(
        observation=rollout.observation,
        action=rollout.action,
        log_prob=rollout.extras["log_prob"],
        value=value,
        advantage=advantage,
        target=advantage + value,
        teacher=teacher,
        valid=None if labels is None else labels.valid,
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)


def loss(
    params: Params,
    network: Policy,
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
    clip_ratio = variant.floats["clip_ratio"]
    policy, value = network.apply(params, batch.observation)
    log_ratio = jax.vmap(lambda p, a: p.log_prob(a))(policy, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = losses.normalize(batch.advantage) if config.normalize_advantage else batch.advantage
    surrogate = jax.vmap(losses.clipped_surrogate, in_axes=(0, 0, None))(ratio, advantage, clip_ratio)
    value_losses = jax.vmap(losses.value_loss, in_axes=(0, 0, 0, None))(
        value, batch.value, batch.target, config.value_clip
    )
    metrics = {
        "policy_loss": jnp.mean(surrogate),
        "value_loss": jnp.mean(value_losses),
        "entropy": jnp.mean(jax.vmap(lambda p: p.entropy())(policy)),
        "approx_kl": jnp.mean(losses.approximate_kl(log_ratio)),
        "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > clip_ratio).astype(jnp.float32)),
        "std": jnp.mean(policy.std),
    }
    own = metrics["policy_loss"] - entropy_coef(variant, progress) * metrics["entropy"]
    if config.kl_stop == "surrogate":
        own = jnp.where(halted | (metrics["approx_kl"] > variant.floats["target_kl"]), 0.0, own)
    total = own + variant.floats["value_coef"] * metrics["value_loss"]
    for k, (name, size, mean) in enumerate(distillation(terms, policy, batch, ratio, variant)):
        total = total + weight * variant.coefficients[k] * size
        metrics[f"distill_{name}"] = mean
    metrics["loss"] = total
    return total, metrics


def distillation(
    terms: tuple[str, ...], policy: Gaussian, batch: Batch, ratio: chex.Array, variant: Variant
) -> list[tuple[str, chex.Array, chex.Array]]:
    """Of each term on a minibatch: its name, its sum over action dimensions, and the number that is logged."""
    if not terms:
        return []
    assert batch.teacher is not None and batch.valid is not None, "distillation terms need labels"
    clip_ratio = jnp.broadcast_to(variant.floats["clip_ratio"], ratio.shape)
    values = (policy, policy.mean, batch.teacher, batch.teacher.mean, ratio, clip_ratio)
    inputs = dict(zip(INPUTS, values, strict=True))
    found = []
    for name in terms:
        elements = jax.vmap(TERMS[name].elements)(*(inputs[each] for each in TERMS[name].inputs))  # [B, A]
        size = masked_mean(jnp.sum(elements, axis=-1), batch.valid, variant.guidance.over_all)
        averaged = TERMS[name].reduction == "mean"
        found.append((name, size, size / elements.shape[-1] if averaged else size))
    return found


def metric_names(terms: tuple[str, ...]) -> list[str]:
    """What a minibatch's metrics are called, "grad_norm" included, which is known after the backward pass."""
    names = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "std", "loss", "grad_norm"]
    return names + [f"distill_{name}" for name in terms]
