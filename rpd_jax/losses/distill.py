"""Distillation: how far the student is from the teacher's answer. Arrays in, numbers out.

`student` and `teacher` are diagonal Gaussians over actions [..., A]; the teacher's mean is its action, the label.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp

from rpd_jax.losses.terms import term
from rpd_jax.policies.gaussian import Gaussian, kl_dims, log_prob_dims


@term("mse", reduction="mean")
def mse(student_mean: chex.Array, teacher_action: chex.Array) -> chex.Array:
    """(mu - a_T)^2: RPD-MSE (arXiv 2503.05833), with one teacher sample or the mean of several as a_T."""
    return (student_mean - teacher_action) ** 2


@term("l1", reduction="mean")
def l1(student_mean: chex.Array, teacher_action: chex.Array) -> chex.Array:
    """|mu - a_T|: RPD-L1 (arXiv 2503.05833)."""
    return jnp.abs(student_mean - teacher_action)


@term("nll", reduction="sum")
def nll(student: Gaussian, teacher_action: chex.Array) -> chex.Array:
    """-log pi(a_T|s): RPD-BC (arXiv 2503.05833); trains the standard deviation as well."""
    return -log_prob_dims(student, teacher_action)


@term("kl", reduction="sum")
def kl(teacher: Gaussian, student: Gaussian) -> chex.Array:
    """KL(teacher || student): kickstarting; for a fixed teacher std a scaled MSE plus a pull on the std."""
    return kl_dims(teacher, student)


@term("reverse_kl", reduction="sum")
def reverse_kl(student: Gaussian, teacher: Gaussian) -> chex.Array:
    """KL(student || teacher)."""
    return kl_dims(student, teacher)


@term("ppd", reduction="sum")
def ppd(teacher: Gaussian, student: Gaussian, ratio: chex.Array, clip_ratio: chex.Numeric) -> chex.Array:
    """max(r, 1 - eps) KL(teacher || student): proximal policy distillation (arXiv 2407.15134).

    r = pi(a|s) / pi_old(a|s) of the student's own action; the gradient flows through it as in the paper.
    """
    return _proximal(ratio, clip_ratio) * kl_dims(teacher, student)


@term("ppd_reverse", reduction="sum")
def ppd_reverse(student: Gaussian, teacher: Gaussian, ratio: chex.Array, clip_ratio: chex.Numeric) -> chex.Array:
    """max(r, 1 - eps) KL(student || teacher): PPD with the KL turned round, as RPD's public code has it."""
    return _proximal(ratio, clip_ratio) * kl_dims(student, teacher)


def _proximal(ratio: chex.Array, clip_ratio: chex.Numeric) -> chex.Array:
    return jnp.maximum(jnp.asarray(ratio)[..., None], 1.0 - clip_ratio)
