"""The objectives of the family "opd" for one member: its rollout as a batch, and the loss of a minibatch of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.advantages import group_advantages
from rpd_jax.algorithms.base import Metrics
from rpd_jax.algorithms.variants import Variant
from rpd_jax.config.algorithm import OPDConfig
from rpd_jax.guidance.scores import usable
from rpd_jax.losses.terms import TERMS
from rpd_jax.losses.tokens import entropy, log_probs, token_forward_kl, token_reverse_kl
from rpd_jax.policies.base import Params, Policy
from rpd_jax.types import Observation, TokenScores

INPUTS = (
    "log_probs",
    "teacher_log_probs",
    "log_prob",
    "old_log_prob",
    "teacher_log_prob",
    "advantage",
    "clip_low",
    "clip_high",
    "demonstrated_log_prob",
)
"""What an objective may look at, by the names of its arguments; see `losses.tokens`."""


class Rollout(NamedTuple):
    """What a member played: whole episodes, leaves [T, N, ...], and perhaps the beginnings of further ones."""

    observation: Observation
    extras: dict[str, chex.Array]  # of `OPD.act`
    success: chex.Array  # bool
    terminated: chex.Array  # bool
    truncated: chex.Array  # bool


class Batch(NamedTuple):
    """Decisions of one member as the losses see them, leaves [B, ...]."""

    observation: Observation
    tokens: chex.Array  # [B, A] int32
    old_log_prob: chex.Array  # [B, A]
    advantage: chex.Array  # of its trajectory in its group
    weight: chex.Array  # of its tokens in the mean over all of the batch; 0 after the episode's end
    seen: chex.Array  # 1.0: of an episode; 0.0: after its end
    scored: chex.Array  # 1.0: the teacher's scores can be used
    teacher_log_probs: chex.Array | None  # [B, A, bins]; None where no teacher is asked


def before_end(success: chex.Array, terminated: chex.Array, truncated: chex.Array) -> chex.Array:
    """Which steps [T] of a rollout are of the first episode: those up to its success or end. bool [T]."""
    ended = jnp.cumsum(success | terminated | truncated)
    return jnp.concatenate([jnp.ones(1, bool), ended[:-1] == 0])


def token_weights(mask: chex.Array, normalize: str, tokens: int) -> chex.Array:
    """Weights [T, N] with which the mean over all T x N x A tokens is one of these.

    "token": the mean over those that count. "trajectory": over each trajectory's, then over trajectories. "sum": the
    sum over each trajectory's, its mean over trajectories.

    Args:
      mask: bool [T, N]: which steps count.
      tokens: A, of an action.
    """
    chex.assert_rank(mask, 2)
    counts = mask.astype(jnp.float32)
    if normalize == "token":
        return counts * counts.size / jnp.maximum(jnp.sum(counts), 1.0)
    if normalize == "trajectory":
        return counts * len(mask) / jnp.maximum(jnp.sum(counts, axis=0, keepdims=True), 1.0)
    return counts * len(mask) * tokens


def make_batch(
    config: OPDConfig, variant: Variant, rollout: Rollout, scores: TokenScores | None, group: chex.Array
) -> tuple[Batch, Metrics]:
    """One member's rollout [T, N, ...], flattened to [T * N, ...], and what can be said of its episodes.

    Args:
      scores: the teacher's, leaves [T, N, A, ...].
      group: of each environment, int [N].
    """
    mask = jax.vmap(before_end, in_axes=1, out_axes=1)(rollout.success, rollout.terminated, rollout.truncated)
    outcome = jnp.any(rollout.success & mask, axis=0).astype(jnp.float32)
    floats = variant.floats
    advantage, kept = group_advantages(outcome, group, floats["group_success_low"], floats["group_success_high"])
    tokens = rollout.extras["tokens"]
    teacher, scored = None, jnp.ones(mask.shape)
    if scores is not None:
        finite = jnp.asarray(usable(scores))
        teacher = log_probs(jnp.where(finite[..., None, None], scores.logits, 0.0), config.temperature)
        scored = finite.astype(jnp.float32)
    batch = Batch(
        observation=rollout.observation,
        tokens=tokens,
        old_log_prob=rollout.extras["log_prob"],
        advantage=jnp.broadcast_to(advantage, mask.shape),
        weight=token_weights(mask, config.normalize, tokens.shape[-1]),
        seen=mask.astype(jnp.float32),
        scored=scored,
        teacher_log_probs=teacher,
    )
    summary = {
        "success": jnp.mean(outcome),  # of sampled actions
        "mixed_groups": jnp.mean(kept.astype(jnp.float32)),  # share of trajectories that grpo learns from
        "steps": jnp.mean(jnp.sum(batch.seen, axis=0)),  # of an episode
    }
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch), summary


def loss(
    params: Params,
    policy: Policy,
    config: OPDConfig,
    terms: tuple[str, ...],
    variant: Variant,
    guidance: chex.Array,
    batch: Batch,
    demonstrated: Any,
) -> tuple[chex.Array, Metrics]:
    """sum_k c_k mean of objective_k over a minibatch's tokens; returns (loss, metrics).

    The coefficients of what looks at the teacher are multiplied by `guidance`, the variant's annealing.

    Args:
      batch: [B, ...], observations normalised.
      demonstrated: transitions [B', ...] likewise, or None.
    """
    temperature, floats = config.temperature, variant.floats

    def of(logs: chex.Array, tokens: chex.Array) -> chex.Array:
        return jnp.take_along_axis(logs, tokens[..., None], axis=-1)[..., 0]

    logs = log_probs(policy.given(params, batch.observation, batch.tokens).logits, temperature)  # [B, A, bins]
    teacher = batch.teacher_log_probs
    inputs = {
        "log_probs": logs,
        "log_prob": of(logs, batch.tokens),
        "old_log_prob": batch.old_log_prob,
        "advantage": jnp.broadcast_to(batch.advantage[:, None], batch.tokens.shape),
        "clip_low": jnp.broadcast_to(floats["clip_low"], batch.tokens.shape),
        "clip_high": jnp.broadcast_to(floats["clip_high"], batch.tokens.shape),
    }
    if teacher is not None:
        inputs |= {"teacher_log_probs": teacher, "teacher_log_prob": of(teacher, batch.tokens)}
    if demonstrated is not None:
        shown, encoded = policy.shown(params, demonstrated.observation, demonstrated.action)
        inputs["demonstrated_log_prob"] = of(log_probs(shown.logits, temperature), encoded)

    total, metrics = jnp.zeros(()), {}
    for k, name in enumerate(terms):
        elements = jax.vmap(TERMS[name].elements)(*(inputs[each] for each in TERMS[name].inputs))  # [B, A]
        if "demonstrated_log_prob" in TERMS[name].inputs:
            mean = jnp.mean(elements)
        else:
            weight = batch.weight * batch.scored if TERMS[name].asks_teacher else batch.weight
            mean = jnp.mean(weight[:, None] * elements)
        factor = guidance if TERMS[name].asks_teacher else 1.0
        total = total + variant.coefficients[k] * factor * mean
        metrics[f"objective_{name}"] = mean
    metrics["loss"] = total
    return total, metrics | diagnostics(logs, inputs, batch, variant.asks * guidance > 0)


def diagnostics(logs: chex.Array, inputs: dict[str, chex.Array], batch: Batch, asked: chex.Array) -> Metrics:
    """What people look for, as means over the tokens that count; NaN of the teacher where it was not `asked`."""

    def mean(tokens: chex.Array, counts: chex.Array = batch.seen) -> chex.Array:
        """Of [B, A] over the decisions that count, [A]."""
        return jnp.sum(tokens * counts[:, None], axis=0) / jnp.maximum(jnp.sum(counts), 1.0)

    log_ratio = inputs["log_prob"] - batch.old_log_prob
    ratio = jnp.exp(log_ratio)
    clipped = (ratio < 1.0 - inputs["clip_low"]) | (ratio > 1.0 + inputs["clip_high"])
    numbers = jax.vmap(jax.vmap(entropy))(logs)
    found = {
        "entropy": jnp.mean(mean(numbers)),  # nats a token
        "clip_fraction": jnp.mean(mean(clipped.astype(jnp.float32))),
        "approx_kl": jnp.mean(mean(jnp.expm1(log_ratio) - log_ratio)),
    }
    kl = jnp.full(logs.shape[1], jnp.nan)
    names = ("reverse_kl", "forward_kl", "teacher_entropy")
    found |= dict.fromkeys(names, jnp.asarray(jnp.nan))
    if (teacher := batch.teacher_log_probs) is not None:
        of_all = jax.vmap(jax.vmap(lambda own, theirs: (token_reverse_kl(own, theirs), token_forward_kl(own, theirs))))
        said = (*of_all(logs, teacher), jax.vmap(jax.vmap(entropy))(teacher))
        known = (jnp.where(asked, mean(tokens, batch.seen * batch.scored), jnp.nan) for tokens in said)  # [A] each
        kl, *_ = means = tuple(known)
        found |= {name: jnp.mean(each) for name, each in zip(names, means, strict=True)}
    return found | {"kl_of_tokens": kl}


def position_names(action_dim: int) -> tuple[str, ...]:
    """What each token of an action is about: of an end-effector delta its axes, else its number. [A]"""
    if action_dim == 7:
        return ("x", "y", "z", "rotation", "rotation", "rotation", "gripper")
    return tuple(str(index) for index in range(action_dim))
