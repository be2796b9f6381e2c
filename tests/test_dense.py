"""Fully connected layers have a matrix product's gradients and uniformly drawn orthogonal weights; minibatches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.algorithms.minibatches import permutation, shuffle
from rpd_jax.policies.dense import orthogonal, product


@pytest.mark.parametrize("out", [1, 4])
def test_gradients_are_those_of_a_matrix_product(out: int) -> None:
    x, w, g = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(5, 3), (3, out), (5, out)]))
    np.testing.assert_allclose(product(x, w), x @ w, rtol=1e-6)
    for index in (0, 1):
        ours = jax.grad(lambda *a: jnp.sum(product(*a) * g), index)(x, w)
        np.testing.assert_allclose(ours, (g @ w.T, x.T @ g)[index], rtol=1e-5, atol=1e-6)


def test_gradients_of_members_side_by_side_are_each_ones() -> None:
    x, w = jax.random.normal(jax.random.key(0), (2, 5, 3)), jax.random.normal(jax.random.key(1), (2, 3, 4))
    grad = jax.grad(lambda x, w: jnp.sum(product(x, w) ** 2), 1)
    np.testing.assert_allclose(jax.vmap(grad)(x, w)[1], grad(x[1], w[1]), rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (42, 128), (128, 7), (1, 1)])
def test_initial_weights_are_orthogonal(shape: tuple[int, int]) -> None:
    q = np.asarray(orthogonal(2.0)(jax.random.key(3), shape), np.float64)
    products = q.T @ q if shape[0] >= shape[1] else q @ q.T
    np.testing.assert_allclose(products, 4.0 * np.eye(min(shape)), atol=1e-4)


def test_initial_weights_are_uniformly_distributed() -> None:
    """Haar's measure of 3 x 3: E q_11^2 = 1/3, E q_11^4 = 1/5, E (trace)^2 = 1, determinants 1 and -1 alike."""
    q = np.asarray(jax.vmap(lambda key: orthogonal(1.0)(key, (3, 3)))(jax.random.split(jax.random.key(0), 10_000)))
    trace = np.trace(q, axis1=1, axis2=2)
    found = [np.mean(q[:, 0, 0] ** 2), np.mean(q[:, 0, 0] ** 4), np.mean(trace**2), np.mean(np.linalg.det(q))]
    np.testing.assert_allclose(found, [1 / 3, 1 / 5, 1.0, 0.0], atol=0.05)  # five standard errors


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 70_000])
def test_a_permutation_has_every_number_once(size: int) -> None:
    np.testing.assert_array_equal(np.sort(permutation(jax.random.key(1), size)), np.arange(size))


def test_all_permutations_are_equally_likely() -> None:
    found = np.asarray(jax.vmap(lambda key: permutation(key, 4))(jax.random.split(jax.random.key(0), 24_000)))
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert np.sum((counts - 1000.0) ** 2 / 1000.0) < 50  # chi-squared of 23 degrees of freedom: exceeded once in 1000


def test_each_epoch_has_every_transition_but_a_remainder_once() -> None:
    order = np.asarray(shuffle(jax.random.key(0), 3, 11, 2)).reshape(3, 10)
    assert all(len(set(epoch)) == 10 for epoch in order) and len({tuple(epoch) for epoch in order}) == 3
