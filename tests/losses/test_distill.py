"""Distillation terms against numbers derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.losses.distill import TERMS, Context, masked_mean
from rpd_jax.policies.gaussian import Gaussian


def context(ratio: float = 1.0) -> Context:
    """Student N((0, 1), 1), teacher N((0.5, -1), 2), eps 0.2."""
    student = Gaussian(jnp.array([0.0, 1.0]), jnp.zeros(2))
    teacher = Gaussian(jnp.array([0.5, -1.0]), jnp.log(jnp.full(2, 2.0)))
    return Context(student, teacher, jnp.float32(ratio), 0.2)


LOG_2 = np.log(2.0)
# KL(teacher || student) = log(1/2) + (4 + d^2) / 2 - 1/2 with d = 0.5, 2
FORWARD = [-LOG_2 + 4.25 / 2 - 0.5, -LOG_2 + 8 / 2 - 0.5]
# KL(student || teacher) = log 2 + (1 + d^2) / 8 - 1/2
REVERSE = [LOG_2 + 1.25 / 8 - 0.5, LOG_2 + 5 / 8 - 0.5]
EXPECTED = {
    "mse": [0.25, 4.0],
    "l1": [0.5, 2.0],
    # -log N(a; mu, 1) = d^2 / 2 + log(2 pi) / 2
    "nll": [0.125 + 0.5 * np.log(2 * np.pi), 2.0 + 0.5 * np.log(2 * np.pi)],
    "kl": FORWARD,
    "reverse_kl": REVERSE,
    "ppd": FORWARD,
    "ppd_reverse": REVERSE,
    # two dimensions are all translation: cos((0, 1), (0.5, -1)) = -1 / sqrt(1.25); there is no rotation to compare
    "direction": [1 + 1 / np.sqrt(1.25), 0.0],
    "gripper": [],  # two dimensions have no seventh
}


@pytest.mark.parametrize("name", TERMS)
def test_value(name):
    np.testing.assert_allclose(TERMS[name].loss(context()), EXPECTED[name], rtol=1e-5)


@pytest.mark.parametrize("name", ["ppd", "ppd_reverse"])
@pytest.mark.parametrize(("ratio", "factor"), [(0.5, 0.8), (0.9, 0.9), (1.7, 1.7)])
def test_proximal_factor_is_not_below_one_minus_eps(name, ratio, factor):
    np.testing.assert_allclose(TERMS[name].loss(context(ratio)), factor * np.array(EXPECTED[name]), rtol=1e-5)


def test_proximal_factor_passes_gradients_through_the_ratio():
    def loss(ratio):
        return TERMS["ppd"].loss(context()._replace(ratio=ratio)).sum()

    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(1.1)), sum(FORWARD), rtol=1e-5)
    assert jax.grad(loss)(jnp.float32(0.5)) == 0.0


@pytest.mark.parametrize("name", ["mse", "l1", "kl"])
def test_gradient_pulls_the_mean_towards_the_teacher(name):
    def loss(mean):
        c = context()
        return TERMS[name].loss(c._replace(student=c.student._replace(mean=mean))).sum()

    gradient = jax.grad(loss)(jnp.array([0.0, 1.0]))
    assert gradient[0] < 0 < gradient[1]


def test_nll_shrinks_the_std_and_mse_leaves_it():
    def loss(log_std, name):
        c = context()
        teacher = c.teacher._replace(mean=c.student.mean + 0.1)
        return TERMS[name].loss(c._replace(student=Gaussian(c.student.mean, log_std), teacher=teacher)).sum()

    gradient = jax.grad(loss)
    assert (gradient(jnp.zeros(2), "nll") > 0).all()
    assert (gradient(jnp.zeros(2), "mse") == 0).all()


def test_masked_mean_ignores_invalid_labels_even_where_they_are_not_finite():
    loss = jnp.array([1.0, jnp.nan, 3.0])
    valid = jnp.array([True, False, True])
    np.testing.assert_allclose(masked_mean(loss, valid), 2.0)
    assert masked_mean(loss, jnp.zeros(3, bool)) == 0.0


def test_the_gripper_is_the_last_of_seven_dimensions():
    """(0.5 - -1)^2 = 2.25, whatever the other six are."""
    student = Gaussian(jnp.arange(7.0).at[6].set(0.5), jnp.zeros(7))
    teacher = Gaussian(jnp.zeros(7).at[6].set(-1.0), jnp.zeros(7))
    np.testing.assert_allclose(TERMS["gripper"].loss(Context(student, teacher, jnp.float32(1.0), 0.2)), [2.25])
