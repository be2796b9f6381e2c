"""Directional guidance (VLAJS): the student is to move the way the teacher does, however far."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rpd_jax.losses.terms import term

TRANSLATION, ROTATION, GRIPPER = slice(0, 3), slice(3, 6), slice(6, 7)  # of an end-effector delta
NEAR_ZERO = 1e-3  # a target shorter than this has no direction; of a window that is the part of one step
EPSILON = 1e-8  # under the square root of the student's length: its gradient is at most 1e4, and clipped with the rest


def cosine(mean: chex.Array, target: chex.Array) -> chex.Array:
    """1 - cos between two vectors [n], a scalar in [0, 2]; 0 where the target is near zero."""
    chex.assert_rank([mean, target], 1)
    length = jnp.sqrt(jnp.sum(target**2))
    is_far = length >= NEAR_ZERO
    unit = target / jnp.where(is_far, length, 1.0)
    along = jnp.dot(mean, unit) / jnp.sqrt(jnp.sum(mean**2) + EPSILON)
    return jnp.where(is_far, 1.0 - along, 0.0)


@term("direction", reduction="fixed")
def direction(student_mean: chex.Array, teacher_action: chex.Array) -> chex.Array:
    """[1 - cos of the translations, 1 - cos of the rotations] of actions [7]: VLAJS (arXiv 2604.13733).

    A part whose target is near zero is 0; the gripper is left out.
    """
    return jnp.stack([cosine(student_mean[part], teacher_action[part]) for part in (TRANSLATION, ROTATION)])


def direction_fit(means: chex.Array, targets: chex.Array, valid: chex.Array) -> chex.Array:
    """How much better means [B, 7] point the way of their targets [B, 7] than the best single direction does.

    (sum cos - R) / (N - R) over the N translations and rotations that have a direction where valid [B] holds, with R,
    the lengths of the sums of unit targets, what one direction of each reaches: 1 if all point as their targets do, at
    most 0 for a constant. NaN where there is none, or all point the same way.
    """
    chex.assert_rank([means, targets, valid], [2, 2, 1])
    along = best = count = jnp.zeros(())
    for part in (TRANSLATION, ROTATION):
        target = targets[:, part]
        length = jnp.linalg.norm(target, axis=1, keepdims=True)
        far = valid[:, None] & (length >= NEAR_ZERO)
        cosines = 1.0 - jax.vmap(cosine)(means[:, part], target)[:, None]
        along += jnp.sum(jnp.where(far, cosines, 0.0))
        best += jnp.linalg.norm(jnp.sum(jnp.where(far, target / jnp.where(far, length, 1.0), 0.0), axis=0))
        count += jnp.sum(far)
    return jnp.where(count - best > 1e-3 * count, (along - best) / (count - best), jnp.nan)


@term("gripper", reduction="fixed")
def gripper(student_mean: chex.Array, teacher_action: chex.Array) -> chex.Array:
    """(mu - a_T)^2 of the gripper alone, [1]: what VLAJS leaves out and tasks with a grasp may need (ours)."""
    return (student_mean[GRIPPER] - teacher_action[GRIPPER]) ** 2
