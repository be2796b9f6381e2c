"""Losses of token policies (VLA-OPD: arXiv 2603.26666): functions of one token, all minimised; the caller vmaps.

Log-probabilities are over the bins of the action alone, after logits were divided by the temperature (`log_probs`):
over a whole vocabulary they would be other numbers. Those of the chosen token are scalars: `log_prob` under the student
as it is, `old_log_prob` as it was when it chose, `teacher_log_prob`.

What is registered with `token_term` can be an objective of the family "opd", by itself or in a weighted sum.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from rpd_jax.losses.ppo import clipped_surrogate
from rpd_jax.losses.terms import token_term


def log_probs(logits: chex.Array, temperature: chex.Numeric = 1.0) -> chex.Array:
    """log softmax(logits / temperature) over the bins, the last axis: [..., bins] -> [..., bins]."""
    return jax.nn.log_softmax(logits / temperature, axis=-1)


def cross_entropy(logits: chex.Array, token: chex.Array) -> chex.Array:
    """-log softmax(logits)[token] of one token, a scalar (RT-2, OpenVLA: arXiv 2406.09246).

    Args:
      logits: [bins].
      token: int scalar in [0, bins).
    """
    chex.assert_rank([logits, token], [1, 0])
    return -jnp.take(log_probs(logits), token)


def entropy(log_probs: chex.Array) -> chex.Array:
    """-sum_b p(b) log p(b) of log-probabilities [bins], in nats, a scalar."""
    chex.assert_rank(log_probs, 1)
    return -jnp.sum(jnp.exp(log_probs) * log_probs)


@token_term("token_reverse_kl")
def token_reverse_kl(log_probs: chex.Array, teacher_log_probs: chex.Array) -> chex.Array:
    """KL(student || teacher) = sum_b p_S(b) (log p_S(b) - log p_T(b)) of [bins], a scalar.

    The expectation of `reverse_kl_sampled` over the student's tokens, in closed form: no variance of a score function,
    no ratio, and as good in a later epoch as in the first. Mode seeking.
    """
    chex.assert_rank([log_probs, teacher_log_probs], 1)
    return jnp.sum(jnp.exp(log_probs) * (log_probs - teacher_log_probs))


@token_term("token_forward_kl")
def token_forward_kl(log_probs: chex.Array, teacher_log_probs: chex.Array) -> chex.Array:
    """KL(teacher || student) = sum_b p_T(b) (log p_T(b) - log p_S(b)) of [bins], a scalar; mode covering."""
    chex.assert_rank([log_probs, teacher_log_probs], 1)
    return jnp.sum(jnp.exp(teacher_log_probs) * (teacher_log_probs - log_probs))


@token_term("hard_ce")
def hard_ce(log_probs: chex.Array, teacher_log_probs: chex.Array) -> chex.Array:
    """-log p_S of the teacher's most likely token (DAgger: arXiv 1011.0686), of [bins], a scalar."""
    chex.assert_rank([log_probs, teacher_log_probs], 1)
    return -jnp.take(log_probs, jnp.argmax(teacher_log_probs))


@token_term("reverse_kl_sampled")
def reverse_kl_sampled(log_prob: chex.Array, old_log_prob: chex.Array, teacher_log_prob: chex.Array) -> chex.Array:
    """-log p_S(a) (log p_T(a) - log p_old(a)), scalars: REINFORCE on the reverse KL, the paper's objective.

    Its reward is frozen: after the first step away from p_old it is no longer the gradient of anything, and over many
    steps it diverges. Use it for one step of a rollout, or `reverse_kl_clipped`.
    """
    chex.assert_rank([log_prob, old_log_prob, teacher_log_prob], 0)
    return -log_prob * stop_gradient(teacher_log_prob - old_log_prob)


@token_term("reverse_kl_clipped")
def reverse_kl_clipped(
    log_prob: chex.Array,
    old_log_prob: chex.Array,
    teacher_log_prob: chex.Array,
    clip_low: chex.Numeric,
    clip_high: chex.Numeric,
) -> chex.Array:
    """-min(r A, clip(r, 1 - low, 1 + high) A), r = p_S(a) / p_old(a), A = log p_T(a) - log p_old(a): scalars.

    The sampled reverse KL for several steps: a token that moved far from where it was chosen pulls no more.
    """
    chex.assert_rank([log_prob, old_log_prob, teacher_log_prob], 0)
    reward = stop_gradient(teacher_log_prob - old_log_prob)
    return clipped_surrogate(jnp.exp(log_prob - old_log_prob), reward, clip_low, clip_high)


@token_term("grpo")
def grpo(
    log_prob: chex.Array,
    old_log_prob: chex.Array,
    advantage: chex.Array,
    clip_low: chex.Numeric,
    clip_high: chex.Numeric,
) -> chex.Array:
    """-min(r A, clip(r, 1 - low, 1 + high) A), r = p_S(a) / p_old(a), scalars (GRPO: arXiv 2402.03300).

    `advantage` is that of the token's trajectory in its group, see `advantages.group_advantages`. Without a penalty
    on the KL, and with a wider upper clip than lower, as SimpleVLA-RL (arXiv 2509.09674) trains.
    """
    chex.assert_rank([log_prob, old_log_prob, advantage], 0)
    return clipped_surrogate(jnp.exp(log_prob - old_log_prob), advantage, clip_low, clip_high)


@token_term("imitation")
def imitation(demonstrated_log_prob: chex.Array) -> chex.Array:
    """-log p_S(a) of a demonstrated token, scalars: supervised fine-tuning as one of several objectives."""
    chex.assert_rank(demonstrated_log_prob, 0)
    return -demonstrated_log_prob
