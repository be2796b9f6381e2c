"""Distillation terms: how far the student's Gaussian is from the teacher's answer on one transition.

Each term returns one number per action dimension, [A] (or components of its own), and is minimised; the caller vmaps
over a batch, masks labels that are not valid and takes the sum or the mean over dimensions. A new term is one function,
a line in `TERMS` and one in `variant_config.REDUCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax.numpy as jnp

from rpd_jax.config.variant import REDUCTIONS
from rpd_jax.losses import direction
from rpd_jax.policies.gaussian import Gaussian, kl_dims, log_prob_dims


class Context(NamedTuple):
    """What a term may look at: one transition."""

    student: Gaussian  # [A]
    teacher: Gaussian  # [A]; `mean` is the label
    ratio: chex.Array  # pi(a|s) / pi_old(a|s) of the student's own action, a scalar
    clip_ratio: chex.Numeric


def mse(c: Context) -> chex.Array:
    """(mu - a_T)^2: RPD-MSE (arXiv 2503.05833), with one teacher sample or the mean of several as a_T."""
    return (c.student.mean - c.teacher.mean) ** 2


def l1(c: Context) -> chex.Array:
    """|mu - a_T|: RPD-L1 (arXiv 2503.05833)."""
    return jnp.abs(c.student.mean - c.teacher.mean)


def nll(c: Context) -> chex.Array:
    """-log pi(a_T|s): RPD-BC (arXiv 2503.05833); trains the standard deviation as well."""
    return -log_prob_dims(c.student, c.teacher.mean)


def kl(c: Context) -> chex.Array:
    """KL(teacher || student): kickstarting; for a fixed teacher std a scaled MSE plus a pull on the std."""
    return kl_dims(c.teacher, c.student)


def reverse_kl(c: Context) -> chex.Array:
    """KL(student || teacher)."""
    return kl_dims(c.student, c.teacher)


def ppd(c: Context) -> chex.Array:
    """max(r, 1 - eps) KL(teacher || student): proximal policy distillation (arXiv 2407.15134)."""
    return _proximal_factor(c) * kl_dims(c.teacher, c.student)


def ppd_reverse(c: Context) -> chex.Array:
    """max(r, 1 - eps) KL(student || teacher): PPD with the KL turned round, as RPD's public code has it."""
    return _proximal_factor(c) * kl_dims(c.student, c.teacher)


def cosine_direction(c: Context) -> chex.Array:
    """[1 - cos of translations, 1 - cos of rotations] of the mean and the label: VLAJS."""
    return direction.direction(c.student.mean, c.teacher.mean)


def gripper(c: Context) -> chex.Array:
    """(mu - a_T)^2 of the gripper alone, [1]: what VLAJS leaves out and tasks with a grasp may need (ours)."""
    return (c.student.mean[direction.GRIPPER] - c.teacher.mean[direction.GRIPPER]) ** 2


def _proximal_factor(c: Context) -> chex.Array:
    """max(r, 1 - eps); the gradient flows through r as in the paper."""
    return jnp.maximum(c.ratio, 1.0 - c.clip_ratio)


class Term(NamedTuple):
    """A distillation term and how it is reduced over action dimensions unless a variant says otherwise."""

    loss: Callable[[Context], chex.Array]
    reduction: str  # see `REDUCTIONS`


_LOSSES: dict[str, Callable[[Context], chex.Array]] = {
    "mse": mse,
    "l1": l1,
    "nll": nll,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "ppd": ppd,
    "ppd_reverse": ppd_reverse,
    "direction": cosine_direction,
    "gripper": gripper,
}
assert set(_LOSSES) == set(REDUCTIONS)

TERMS: dict[str, Term] = {name: Term(_LOSSES[name], reduction) for name, reduction in REDUCTIONS.items()}


def masked_mean(loss: chex.Array, valid: chex.Array, over_all: chex.Numeric = 0.0) -> chex.Array:
    """Sum of loss [B] where valid [B] holds, over the number of such entries, or of all where `over_all` is 1.

    Over all entries a loss fades with the share of steps that are supervised (VLAJS, arXiv 2604.13733). 0 if none is.
    """
    chex.assert_rank([loss, valid], 1)
    supervised = jnp.maximum(jnp.sum(valid.astype(loss.dtype)), 1.0)
    return jnp.sum(jnp.where(valid, loss, 0.0)) / jnp.where(over_all > 0, len(loss), supervised)
