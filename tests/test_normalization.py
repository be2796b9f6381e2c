"""Running moments against numpy, and what they do to a student."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_update import SPEC, data, make_config

from rpd_jax.policies import normalization
from rpd_jax.training.population import Population


def test_moments_of_batches_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, size=(n, 4)).astype(np.float32) for n in (5, 1, 30)]
    normalizer = normalization.init({"state": (4,)})
    for batch in batches:
        normalizer = normalization.update(normalizer, {"state": jnp.asarray(batch)})
    whole, moments = np.concatenate(batches), normalizer["state"]
    assert moments.count == 36
    np.testing.assert_allclose(moments.mean, whole.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.m2 / moments.count, whole.var(0), rtol=1e-5)
    normal = normalization.normalize(normalizer, {"state": jnp.asarray(whole)})["state"]
    np.testing.assert_allclose(normal, (whole - whole.mean(0)) / whole.std(0), rtol=1e-3, atol=1e-5)


def test_before_the_first_update_nothing_is_scaled():
    x = jnp.array([[3.0, -1.0]])
    normalizer = normalization.init({"state": (2,)})
    np.testing.assert_array_equal(normalization.normalize(normalizer, {"state": x})["state"], x)


@pytest.mark.parametrize(
    ("deviation", "x", "expected"),
    [
        (0.0, 0.0, 0.0),  # an entry that never varied
        (0.0, 1e-5, 0.1),  # 1e-5 / sqrt(0 + 1e-8)
        (0.0, 1.0, 10.0),  # 1e4 standard deviations, clipped
        (15e-6, 15e-6, 0.148340),  # 15e-6 / sqrt(2.25e-10 + 1e-8): noise of 15 um stays small
        (15e-6, 150e-6, 1.483405),  # ten of its standard deviations are not clipped
        (15e-6, 1e-3, 9.889364),
        (1e-4, 1e-4, 0.707107),  # 1 / sqrt(2)
        (0.01, 0.01, 0.999950),  # 0.01 / sqrt(1e-4 + 1e-8): centimetres do not feel the floor
    ],
)
def test_what_hardly_varies_is_not_blown_up(deviation, x, expected):
    """Observations are -deviation and +deviation in turn: mean 0, variance deviation^2."""
    seen = jnp.tile(jnp.array([[-deviation], [deviation]], jnp.float32), (8, 1))
    normalizer = normalization.update(normalization.init({"state": (1,)}), {"state": seen})
    normal = normalization.normalize(normalizer, {"state": jnp.array([[x]], jnp.float32)})["state"]
    np.testing.assert_allclose(normal, [[expected]], rtol=1e-4)


def test_outliers_are_clipped_and_frames_left_alone():
    normalizer = normalization.update(normalization.init({"state": (1,)}), {"state": jnp.array([[-1.0], [1.0]])})
    frames = jnp.zeros((1, 2, 2, 3), jnp.uint8)
    seen = normalization.normalize(normalizer, {"state": jnp.array([[1e6]]), "rgb": frames})
    np.testing.assert_allclose(seen["state"], [[10.0]])
    assert seen["rgb"] is frames


@pytest.mark.parametrize("key", ["state", "ee"])
def test_a_population_learns_moments_and_acting_agrees_with_learning(key):
    config = make_config(["ppo"])
    config.env.observation, config.network.normalize_observations = key, True
    spec = dataclasses.replace(SPEC, observation={key: SPEC.observation["state"]})
    population = Population(config, spec)
    rollout, _ = data(population)
    rollout = rollout._replace(observation={key: 100.0 + 5.0 * rollout.observation["state"]})
    members = population.init()
    members, _ = population.update(members, rollout, None, 0.0)
    flat = rollout.observation[key][:, 0].reshape(-1, 4)
    np.testing.assert_allclose(members.normalizer[key].mean[0], flat.mean(0), rtol=1e-4)
    # acting normalises by the member's moments: the network alone, given normal observations, says the same
    observation = np.moveaxis(rollout.observation[key], 1, 0)[:, 0]
    moments = jax.device_get(members.normalizer[key])
    std = np.sqrt(moments.m2 / moments.count[:, None])
    normal = (observation - moments.mean[:, None]) / std[:, None]
    for member in range(len(population)):
        params = jax.tree.map(lambda x, m=member: x[m], members.params)
        expected = population.algorithm.policy.apply(params, {key: normal[member]})[1]
        value = population.look_ahead(members, {key: observation})["value"][member]
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-3)


def test_old_log_probabilities_stay_exact():
    """One epoch of one minibatch sees the ratio 1 in every iteration, though moments change between them."""
    config = make_config(["ppo"], epochs=1, minibatches=1)
    config.network.normalize_observations = True
    population = Population(config, SPEC)
    rollout, _ = data(population)
    raw, scale = rollout.observation["state"], np.array([5.0, 1e-5, 1.0, 0.1], np.float32)  # the second hardly varies
    members = population.init()
    for iteration in range(3):
        observation = {"state": (raw + iteration) * scale}
        acted = [population.act(members, {"state": x}, step) for step, x in enumerate(observation["state"])]
        action, extras = jax.tree.map(lambda *x: np.stack(x), *acted)
        rollout = rollout._replace(observation=observation, action=action, extras=rollout.extras | extras)
        members, metrics = population.update(members, rollout, None, 0.0)
        np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-6)
        np.testing.assert_array_equal(metrics["clip_fraction"], 0.0)
        assert (metrics["grad_norm"] > 0).all() and (metrics["updates_applied"] == 1).all()
