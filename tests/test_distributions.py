"""The Gaussian against scipy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpd_jax.policies.gaussian import Gaussian, kl_dims, log_prob_dims

MEAN = jnp.array([0.3, -1.2, 0.0])
LOG_STD = jnp.array([-0.5, 0.2, 0.0])
POLICY = Gaussian(MEAN, LOG_STD)


def test_log_prob_matches_scipy():
    action = jnp.array([0.1, 0.4, -2.0])
    expected = stats.norm.logpdf(action, MEAN, np.exp(LOG_STD))
    np.testing.assert_allclose(log_prob_dims(POLICY, action), expected, rtol=1e-5)
    np.testing.assert_allclose(POLICY.log_prob(action), expected.sum(), rtol=1e-5)


def test_entropy_matches_scipy():
    expected = stats.norm.entropy(MEAN, np.exp(LOG_STD)).sum()
    np.testing.assert_allclose(POLICY.entropy(), expected, rtol=1e-6)


def test_kl_by_hand():
    # p = N(0, 1), q = N(1, 2): log 2 + (1 + 1) / (2 * 4) - 1/2 = 0.443147
    p = Gaussian(jnp.zeros(1), jnp.zeros(1))
    q = Gaussian(jnp.ones(1), jnp.log(jnp.full(1, 2.0)))
    np.testing.assert_allclose(kl_dims(p, q), [np.log(2) + 0.25 - 0.5], rtol=1e-6)
    # the other way round: log(1/2) + (4 + 1) / 2 - 1/2 = 1.306853
    np.testing.assert_allclose(kl_dims(q, p), [-np.log(2) + 2.5 - 0.5], rtol=1e-6)
    np.testing.assert_allclose(kl_dims(POLICY, POLICY), np.zeros(3), atol=1e-7)


def test_samples_have_the_distributions_moments():
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.vmap(POLICY.sample)(keys)
    # standard errors at 20,000 draws: at most 1.22 / 141 = 0.0086 for the mean, 0.0061 for the std
    np.testing.assert_allclose(draws.mean(0), MEAN, atol=0.04)
    np.testing.assert_allclose(draws.std(0), np.exp(LOG_STD), atol=0.03)


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        POLICY.log_prob(jnp.zeros(2))
