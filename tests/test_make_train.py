"""Training as a pure function: it learns, keys may be mapped over, and variants of a key are paired."""

import dataclasses

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.envs.toy.reach import Reach
from teachers.base import load

ITERATIONS = 4


def make_config(variants=("ppo", "rpd-mse:mse=20")):
    config = rpd_jax.get_preset("debug")
    config.variants = variants
    config.algorithm.total_steps = ITERATIONS * 8 * 20
    config.algorithm.learning_rate, config.algorithm.epochs, config.algorithm.target_kl = 3e-3, 8, None
    return config


@pytest.fixture(scope="module")
def trained():
    env = Reach(max_episode_steps=10)
    train = rpd_jax.make_train(make_config(), env, load("toy", env.spec))
    keys = jax.random.split(jax.random.key(3), 2)
    return train, keys, jax.device_get(jax.jit(jax.vmap(train))(keys))


def test_every_key_trains_every_variant(trained):
    _, _, (members, metrics) = trained
    assert metrics["return"].shape == (2, ITERATIONS, 2)  # keys, iterations, variants
    assert members.params["log_std"].shape == (2, 2, 7)
    assert (metrics["episodes"] > 0).all() and np.isfinite(metrics["return"]).all()
    # the teacher is a good one, and imitating it helps at once
    assert (metrics["distill_mse"][:, -1, 1] < 0.5 * metrics["distill_mse"][:, 0, 1]).all()
    assert not np.allclose(metrics["return"][0], metrics["return"][1])


def test_variants_of_a_key_are_paired(trained):
    _, _, (_, metrics) = trained
    np.testing.assert_array_equal(metrics["rollout_reward"][:, 0, 0], metrics["rollout_reward"][:, 0, 1])


def test_a_mapped_key_gives_what_it_gives_alone(trained):
    train, keys, (members, metrics) = trained
    alone, said = jax.device_get(jax.jit(train)(keys[1]))
    np.testing.assert_allclose(said["return"], metrics["return"][1], rtol=1e-3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[1], atol=2e-3), alone.params, members.params)


def test_what_cannot_be_pure_is_refused():
    env = Reach()
    with pytest.raises(ConfigError, match="without a teacher"):
        rpd_jax.make_train(make_config(), env)
    teacher = load("toy", env.spec)
    teacher.spec = dataclasses.replace(teacher.spec, in_graph=False)
    with pytest.raises(ConfigError, match="not written in JAX"):
        rpd_jax.make_train(make_config(), env, teacher)
