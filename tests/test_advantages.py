"""Advantages against numbers derived by hand, with terminations and truncations inside the trajectory."""

import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.advantages import ESTIMATORS, finite_horizon_gae, gae

GAMMA, LAM = 0.5, 0.5


def trajectory(terminated=(0, 0, 0), truncated=(0, 0, 0)):
    """Rewards 1 2 3, values 10 20 30; the true next values are 20 30 40."""
    return {
        "reward": jnp.array([1.0, 2.0, 3.0]),
        "value": jnp.array([10.0, 20.0, 30.0]),
        "next_value": jnp.array([20.0, 30.0, 40.0]),
        "terminated": jnp.array(terminated, bool),
        "truncated": jnp.array(truncated, bool),
    }


def test_gae_without_ends():
    # delta_2 = 3 + 20 - 30 = -7;  delta_1 = 2 + 15 - 20 = -3;  delta_0 = 1 + 10 - 10 = 1
    # A_2 = -7;  A_1 = -3 - 7/4 = -4.75;  A_0 = 1 - 4.75/4 = -0.1875
    np.testing.assert_allclose(gae(**trajectory(), gamma=GAMMA, lam=LAM), [-0.1875, -4.75, -7.0])


def test_gae_terminated_cuts_bootstrap_and_recursion():
    # delta_1 = 2 + 0 - 20 = -18 (no bootstrap);  A_1 = -18;  A_0 = 1 - 18/4 = -3.5
    advantage = gae(**trajectory(terminated=(0, 1, 0)), gamma=GAMMA, lam=LAM)
    np.testing.assert_allclose(advantage, [-3.5, -18.0, -7.0])


def test_gae_truncated_keeps_bootstrap_and_cuts_recursion():
    # delta_1 = -3 with the final observation's value 30;  A_1 = -3;  A_0 = 1 - 3/4 = 0.25
    advantage = gae(**trajectory(truncated=(0, 1, 0)), gamma=GAMMA, lam=LAM)
    np.testing.assert_allclose(advantage, [0.25, -3.0, -7.0])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_bootstrapping_terminations_equals_truncation(name):
    as_terminated = ESTIMATORS[name](
        **trajectory(terminated=(0, 1, 0)), gamma=GAMMA, lam=LAM, bootstrap_terminated=True
    )
    as_truncated = ESTIMATORS[name](**trajectory(truncated=(0, 1, 0)), gamma=GAMMA, lam=LAM)
    np.testing.assert_allclose(as_terminated, as_truncated)


def test_finite_horizon_without_ends():
    # k-step returns from t = 0: G1 = 1 + 20/2 = 11;  G2 = 1 + 1 + 30/4 = 9.5;  G3 = 1 + 1 + 3/4 + 40/8 = 7.75
    # weights 1, 1/2, 1/4: (11 + 4.75 + 1.9375) / 1.75 - 10 = 0.107142857
    # t = 1: G1 = 2 + 15 = 17;  G2 = 2 + 1.5 + 10 = 13.5:  (17 + 6.75) / 1.5 - 20 = -4.1666667
    # t = 2: G1 = 3 + 20 = 23:  23 - 30 = -7
    advantage = finite_horizon_gae(**trajectory(), gamma=GAMMA, lam=LAM)
    np.testing.assert_allclose(advantage, [17.6875 / 1.75 - 10, 23.75 / 1.5 - 20, -7.0], rtol=1e-5)


def test_finite_horizon_restarts_at_an_end():
    # terminated after t = 1, so from t = 0: G1 = 11, G2 = 1 + 1 + 0 = 2:  (11 + 1) / 1.5 - 10 = -2
    # t = 1: G1 = 2 + 0:  2 - 20 = -18;  t = 2 as before
    advantage = finite_horizon_gae(**trajectory(terminated=(0, 1, 0)), gamma=GAMMA, lam=LAM)
    np.testing.assert_allclose(advantage, [-2.0, -18.0, -7.0], rtol=1e-6)


def test_lambda_one_is_the_discounted_return():
    # gae: the bootstrapped return minus the value: 1 + 1 + 0.75 + 5 - 10 = -2.25
    np.testing.assert_allclose(gae(**trajectory(), gamma=GAMMA, lam=1.0)[0], -2.25)
    # finite horizon: the plain mean of the three k-step returns: (11 + 9.5 + 7.75) / 3 - 10
    expected = (11 + 9.5 + 7.75) / 3 - 10
    np.testing.assert_allclose(finite_horizon_gae(**trajectory(), gamma=GAMMA, lam=1.0)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_one_trajectory_only(name):
    batch = {key: jnp.stack([x, x], axis=1) for key, x in trajectory().items()}
    with pytest.raises(AssertionError):
        ESTIMATORS[name](**batch, gamma=GAMMA, lam=LAM)
