"""The other action heads, by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from teachers.octo.config import HeadConfig
from teachers.octo.heads import HEADS, bin_edges, make_head

CONFIG = HeadConfig("L1ActionHead", "readout_action", action_horizon=2, action_dim=2, max_action=5.0)
EMBEDDING = jnp.ones((1, 1, 3))
ACTION = jnp.array([[[[1.0, -2.0], [3.0, 9.0]]]])
ALL = jnp.ones((1, 1, 2, 2), bool)


def zeroed(kind, **changes):
    """A head whose parameters are all zero, and they."""
    config = dataclasses.replace(CONFIG, kind=kind, **changes)
    head = make_head(config)
    return config, head, jax.tree.map(jnp.zeros_like, head.init(jax.random.key(0), EMBEDDING))


@pytest.mark.parametrize(("kind", "by_hand"), [("L1ActionHead", 11.0 / 4), ("MSEActionHead", 39.0 / 4)])
def test_regression_by_hand(kind, by_hand):
    """It predicts 0; actions 1, -2, 3 and 9, clipped to 5: |a| sums to 11, a^2 to 39; times action_dim = 2."""
    _, head, params = zeroed(kind)
    loss = head.apply(params, EMBEDDING, ACTION, ALL, method="loss")
    np.testing.assert_allclose(loss, 2 * by_hand, rtol=1e-6)


def test_what_the_mask_leaves_out_does_not_count():
    """Only the first entry, 1, counts: 2 * (1 / 4) / (1 / 4) = 2."""
    _, head, params = zeroed("L1ActionHead")
    mask = jnp.zeros_like(ALL).at[0, 0, 0, 0].set(True)
    np.testing.assert_allclose(head.apply(params, EMBEDDING, ACTION, mask, method="loss"), 2.0, rtol=1e-6)


def test_predictions_are_squashed():
    """A bias of 1000 gives max_action."""
    config, head, params = zeroed("MSEActionHead")
    params = jax.tree.map(lambda x: x + 1000.0, params)
    np.testing.assert_allclose(head.apply(params, EMBEDDING), np.full((1, 1, 2, 2), 5.0), rtol=1e-5)
    chunks = HEADS[config.kind].sample(
        config, lambda method, *a: head.apply(params, *a, method=method), EMBEDDING, jax.random.key(0), 3, None
    )
    assert chunks.shape == (3, 1, 1, 2, 2)


def test_a_uniform_categorical_costs_the_logarithm_of_its_bins():
    """4 bins, all alike: log 4 for every entry, times action_dim = 2."""
    _, head, params = zeroed("DiscreteActionHead", vocab_size=4)
    loss = head.apply(params, EMBEDDING, ACTION, ALL, method="loss")
    np.testing.assert_allclose(loss, 2 * np.log(4.0), rtol=1e-6)


def test_discrete_samples_are_the_middles_of_their_bins():
    """4 uniform bins of [-5, 5] have the middles -3.75, -1.25, 1.25 and 3.75; the bias of bin 2 decides."""
    config, head, params = zeroed("DiscreteActionHead", vocab_size=4)
    bias = jnp.tile(jnp.array([0.0, 0.0, 50.0, 0.0]), 4)
    params["params"]["vocab_proj"]["bias"] = bias
    chunks = HEADS[config.kind].sample(
        config, lambda method, *a: head.apply(params, *a, method=method), EMBEDDING, jax.random.key(0), 2, None
    )
    np.testing.assert_allclose(chunks, np.full((2, 1, 1, 2, 2), 1.25), rtol=1e-6)
    loss = head.apply(params, EMBEDDING, jnp.full_like(ACTION, 2.0), ALL, method="loss")
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)


def test_bins_of_equal_probability():
    """Quartiles of a standard normal: -0.6745, 0, 0.6745."""
    config = dataclasses.replace(CONFIG, vocab_size=4, normalization_type="normal")
    np.testing.assert_allclose(bin_edges(config), [-5.0, -0.67449, 0.0, 0.67449, 5.0], atol=1e-4)
    with pytest.raises(ValueError, match="normalization_type='log' is unknown"):
        bin_edges(dataclasses.replace(config, normalization_type="log"))


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_wrong_shapes_are_refused(kind):
    config, head, params = zeroed(kind)
    draws = type(head).draws(config, jax.random.key(0), 1, 1)
    with pytest.raises(ValueError, match=r"must have the shape \(1, 1, 2, 2\)"):
        head.apply(params, EMBEDDING, ACTION[..., :1], ALL[..., :1], method="loss", **draws)
