"""PPO's terms against numbers derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.losses import ppo


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.5, 2.0, -2.4),  # clipped at 1.2: max(-3, -2.4)
        (0.5, 2.0, -1.0),  # a gain given away: max(-1, -1.6)
        (0.5, -2.0, 1.6),  # clipped at 0.8: max(1, 1.6)
        (1.5, -2.0, 3.0),  # max(3, 2.4)
        (1.1, 2.0, -2.2),  # inside
    ],
)
def test_clipped_surrogate(ratio, advantage, expected):
    loss = ppo.clipped_surrogate(jnp.float32(ratio), jnp.float32(advantage), 0.2)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_surrogate_has_no_gradient_where_clipped():
    gradient = jax.grad(ppo.clipped_surrogate)
    assert gradient(jnp.float32(1.5), jnp.float32(2.0), 0.2) == 0.0
    np.testing.assert_allclose(gradient(jnp.float32(1.1), jnp.float32(2.0), 0.2), -2.0)


def test_value_loss():
    value, old, target = jnp.float32(3.0), jnp.float32(1.0), jnp.float32(4.0)
    np.testing.assert_allclose(ppo.value_loss(value, old, target, None), 0.5)  # (3 - 4)^2 / 2
    # clipped to 1.5: (1.5 - 4)^2 / 2 = 3.125 is the larger
    np.testing.assert_allclose(ppo.value_loss(value, old, target, 0.5), 3.125)


def test_approximate_kl():
    # r = 2: (2 - 1) - log 2
    np.testing.assert_allclose(ppo.approximate_kl(jnp.log(jnp.float32(2.0))), 1 - np.log(2), rtol=1e-5)
    assert ppo.approximate_kl(jnp.float32(0.0)) == 0.0


def test_normalize():
    # mean 2, population standard deviation sqrt(2/3)
    expected = np.array([-1, 0, 1]) / np.sqrt(2 / 3)
    np.testing.assert_allclose(ppo.normalize(jnp.array([1.0, 2.0, 3.0])), expected, rtol=1e-5)
    np.testing.assert_allclose(ppo.normalize(jnp.ones(3)), np.zeros(3))
