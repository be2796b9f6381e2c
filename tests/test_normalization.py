"""Running moments against numpy, and what they do to a student."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_update import SPEC, data, make_config

from rpd_jax import normalization
from rpd_jax.population import Population


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


def test_before_the_first_update_and_without_variation_nothing_is_scaled():
    normalizer = normalization.init({"state": (2,)})
    x = jnp.array([[3.0, -1.0]])
    np.testing.assert_array_equal(normalization.normalize(normalizer, {"state": x})["state"], x)
    normalizer = normalization.update(normalizer, {"state": jnp.ones((4, 2))})
    np.testing.assert_allclose(normalization.normalize(normalizer, {"state": x})["state"], [[2.0, -2.0]])


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
        expected = population.network.apply(params, {key: normal[member]})[1]
        value = population.values(members, {key: observation})[member]
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-3)
