"""VLAJS's directional loss against numbers derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.losses.direction import NEAR_ZERO, cosine, direction_fit
from rpd_jax.losses.terms import TERMS

direction = TERMS["direction"].elements


@pytest.mark.parametrize(
    ("mean", "target", "expected"),
    [
        ([1.0, 0.0, 0.0], [2.0, 0.0, 0.0], 0.0),  # the same way, however far
        ([1.0, 0.0, 0.0], [0.0, 0.5, 0.0], 1.0),  # at a right angle
        ([0.3, 0.0, 0.0], [-0.1, 0.0, 0.0], 2.0),  # the other way
        ([1.0, 1.0, 0.0], [1.0, 0.0, 0.0], 1.0 - np.sqrt(0.5)),  # at 45 degrees
    ],
)
def test_cosine(mean, target, expected):
    np.testing.assert_allclose(cosine(jnp.array(mean), jnp.array(target)), expected, atol=1e-6)


def test_a_target_near_zero_is_skipped():
    """Just below the limit: no loss and no gradient; just above: the direction counts."""
    mean = jnp.array([0.0, 1.0, 0.0])
    below, above = jnp.array([0.9 * NEAR_ZERO, 0.0, 0.0]), jnp.array([1.1 * NEAR_ZERO, 0.0, 0.0])
    assert cosine(mean, below) == 0.0
    np.testing.assert_array_equal(jax.grad(cosine)(mean, below), 0.0)
    np.testing.assert_allclose(cosine(mean, above), 1.0, atol=1e-6)
    assert jnp.all(jnp.isfinite(jax.grad(cosine)(mean, jnp.zeros(3))))


def test_the_gradient_turns_the_mean_and_does_not_lengthen_it():
    """d(1 - cos)/d mu = -(u - cos n) / |mu| with unit vectors u of the target, n of mu: at mu = (2, 0, 0) and u = y
    that is (0, -1/2, 0), at a right angle to mu."""
    gradient = jax.grad(cosine)(jnp.array([2.0, 0.0, 0.0]), jnp.array([0.0, 3.0, 0.0]))
    np.testing.assert_allclose(gradient, [0.0, -0.5, 0.0], atol=1e-6)


def test_the_gradient_at_a_mean_of_zero_is_finite():
    """d cos / d mu = u / sqrt(epsilon) there, with epsilon = 1e-8."""
    gradient = jax.grad(cosine)(jnp.zeros(3), jnp.array([0.0, 3.0, 0.0]))
    np.testing.assert_allclose(gradient, [0.0, -1e4, 0.0], rtol=1e-5)


def test_translation_and_rotation_are_apart_and_the_gripper_is_left_out():
    target = jnp.array([0.1, 0.0, 0.0, 0.0, 0.0, -0.2, 1.0])
    mean = jnp.array([0.4, 0.0, 0.0, 0.0, 0.3, 0.0, -1.0])
    np.testing.assert_allclose(direction(mean, target), [0.0, 1.0], atol=1e-6)
    gradient = jax.grad(lambda mean: direction(mean, target).sum())(mean)
    assert gradient[6] == 0.0 and gradient[5] != 0.0


def test_the_sign_of_the_rotation_counts():
    """A contract's sign turned round trains the student away from the teacher: the loss is 2, not 0."""
    target = jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0])
    np.testing.assert_allclose(direction(target, target), [0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(direction(-target, target), [0.0, 2.0], atol=1e-6)


def test_the_fit_of_directions_is_held_against_the_best_single_one():
    """Unit targets x, x, y and -x: R = |(1, 1, 0)| = sqrt(2). Means with cosines 1, 1, 0 and 1: (3 - R) / (4 - R).

    The translation of the fifth has no direction, and the sixth has no label."""
    targets = jnp.zeros((6, 7)).at[:, 0].set(jnp.array([1.0, 3.0, 0.0, -1.0, 0.0, 1.0])).at[2, 1].set(0.5)
    means = jnp.zeros((6, 7)).at[:, 0].set(jnp.array([2.0, 1.0, 1.0, -0.1, 1.0, -1.0]))
    valid = jnp.array([True, True, True, True, True, False])
    expected = (3 - np.sqrt(2)) / (4 - np.sqrt(2))
    np.testing.assert_allclose(direction_fit(means, targets, valid), expected, atol=1e-6)
    np.testing.assert_allclose(direction_fit(targets, targets, valid), 1.0, atol=1e-6)
    constant = jnp.broadcast_to(jnp.array([1.0, 1.0, 0, 0, 0, 0, 0]), (6, 7))
    np.testing.assert_allclose(direction_fit(constant, targets, valid), 0.0, atol=1e-6)


def test_a_fit_is_unknown_without_labels_or_with_one_direction():
    ones, none, all = jnp.ones((3, 7)), jnp.zeros(3, bool), jnp.ones(3, bool)
    assert jnp.isnan(direction_fit(ones, ones, none))
    assert jnp.isnan(direction_fit(ones, ones, all))
