"""Distillation terms against numbers derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax import losses
from rpd_jax.algorithms import ppo_loss
from rpd_jax.config import ConfigError
from rpd_jax.losses import TERMS, masked_mean, terms
from rpd_jax.policies.gaussian import Gaussian

STUDENT = Gaussian(jnp.array([0.0, 1.0]), jnp.zeros(2))  # N((0, 1), 1)
TEACHER = Gaussian(jnp.array([0.5, -1.0]), jnp.log(jnp.full(2, 2.0)))  # N((0.5, -1), 2)


def elements(name, student=STUDENT, teacher=TEACHER, ratio=1.0):
    """The components of a term, with eps 0.2."""
    inputs = {"student": student, "student_mean": student.mean, "teacher": teacher, "teacher_action": teacher.mean}
    inputs |= {"ratio": jnp.float32(ratio), "clip_ratio": 0.2}
    return TERMS[name].elements(*(inputs[each] for each in TERMS[name].inputs))


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


@pytest.mark.parametrize("name", [name for name in TERMS if {*TERMS[name].inputs} <= {*ppo_loss.INPUTS}])
def test_value(name):
    np.testing.assert_allclose(elements(name), EXPECTED[name], rtol=1e-5)


@pytest.mark.parametrize("name", ["ppd", "ppd_reverse"])
@pytest.mark.parametrize(("ratio", "factor"), [(0.5, 0.8), (0.9, 0.9), (1.7, 1.7)])
def test_proximal_factor_is_not_below_one_minus_eps(name, ratio, factor):
    np.testing.assert_allclose(elements(name, ratio=ratio), factor * np.array(EXPECTED[name]), rtol=1e-5)


def test_proximal_factor_passes_gradients_through_the_ratio():
    def loss(ratio):
        return elements("ppd", ratio=ratio).sum()

    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(1.1)), sum(FORWARD), rtol=1e-5)
    assert jax.grad(loss)(jnp.float32(0.5)) == 0.0


@pytest.mark.parametrize("name", ["mse", "l1", "kl"])
def test_gradient_pulls_the_mean_towards_the_teacher(name):
    def loss(mean):
        return elements(name, STUDENT._replace(mean=mean)).sum()

    gradient = jax.grad(loss)(jnp.array([0.0, 1.0]))
    assert gradient[0] < 0 < gradient[1]


def test_nll_shrinks_the_std_and_mse_leaves_it():
    def loss(log_std, name):
        teacher = TEACHER._replace(mean=STUDENT.mean + 0.1)
        return elements(name, STUDENT._replace(log_std=log_std), teacher).sum()

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
    np.testing.assert_allclose(elements("gripper", student, teacher), [2.25])


def test_losses_take_arrays_and_reduce_over_dimensions():
    """As parts of a library: of one action, or of a batch of them."""
    np.testing.assert_allclose(losses.rpd_mse(STUDENT.mean, TEACHER.mean), 4.25 / 2)  # (0.25 + 4) / 2
    np.testing.assert_allclose(losses.l1(jnp.zeros((3, 2)), jnp.ones((3, 2))), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(losses.kl(TEACHER, STUDENT), sum(FORWARD), rtol=1e-5)
    batch = jax.tree.map(lambda x: jnp.tile(x, (4, 1)), (TEACHER, STUDENT))
    ppd = losses.ppd(*batch, jnp.array([0.5, 0.8, 1.0, 2.0]), 0.2)
    np.testing.assert_allclose(ppd, sum(FORWARD) * np.array([0.8, 0.8, 1.0, 2.0]), rtol=1e-5)
    assert losses.direction(jnp.ones(7), -jnp.ones(7)) == pytest.approx(4.0, abs=1e-5)


def test_a_term_is_one_function(monkeypatch):
    monkeypatch.setattr(terms, "TERMS", dict(TERMS))

    @terms.term("cubed", reduction="sum")
    def cubed(student_mean, teacher_action):
        return jnp.abs(student_mean - teacher_action) ** 3

    assert terms.TERMS["cubed"].inputs == ("student_mean", "teacher_action")
    assert cubed(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])) == 9.0
    with pytest.raises(ConfigError, match="'cubed' is already registered"):
        terms.term("cubed")(lambda student_mean: student_mean)
    with pytest.raises(ConfigError, match="did you mean 'mean'"):
        terms.term("other", reduction="maen")


def test_a_term_that_looks_at_what_ppo_does_not_have_is_refused(monkeypatch):
    odd = terms.Term(lambda student_maen: student_maen, ("student_maen",), "mean")
    monkeypatch.setattr(terms, "TERMS", TERMS | {"odd": odd})
    with pytest.raises(ConfigError, match=r"'odd': argument='student_maen' is unknown: .* mean 'student_mean'"):
        terms.check_inputs(("mse", "odd"), ppo_loss.INPUTS)
