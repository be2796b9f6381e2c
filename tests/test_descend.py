"""The step that all families make is Adam's, as optax makes it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rpd_jax.algorithms.base import MemberState, descend
from rpd_jax.algorithms.variants import at
from rpd_jax.config import Config, EnvConfig, PPOConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec
from rpd_jax.training.population import Population

SPEC = EnvSpec("none", "", 10, 2, (-1.0,) * 2, (1.0,) * 2, {"state": ArraySpec((3,), "float32")}, {})


@pytest.fixture(scope="module")
def setting():
    settings = PPOConfig(learning_rate=0.1, weight_decay=0.2, max_grad_norm=1.5, adam_eps=1e-3)
    config = Config(variants=("ppo",), env=EnvConfig(num_envs=16), algorithm=settings).validate()
    population = Population(config, SPEC)
    member, variant = jax.tree.map(lambda x: x[0], (population.init(), at(population.variants, 0.0)))
    policy = population.algorithm.policy._replace(project=lambda params, floats: params)
    return dataclasses.replace(population.algorithm, policy=policy), member, variant


def gradient(params, key: int, size: float):
    """Of this norm."""
    leaves = jax.tree.map(lambda x: jax.random.normal(jax.random.key(key), x.shape), params)
    return jax.tree.map(lambda x: size * x / optax.tree.norm(leaves), leaves)


def test_steps_are_those_of_adam_with_clipping_and_decay(setting) -> None:
    algorithm, member, variant = setting
    optimizer = optax.chain(optax.clip_by_global_norm(1.5), optax.adamw(0.1, eps=1e-3, weight_decay=0.2))
    params, state = member.params, optimizer.init(member.params)
    for key, size in enumerate([0.5, 6.0, 1.0]):  # the second is clipped
        grads = gradient(params, key, size)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        member = descend(algorithm, member, grads, variant, 0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), member.params, params)


@pytest.mark.parametrize("size", [1.0, np.nan])
def test_a_member_that_is_not_to_move_stays(setting, size: float) -> None:
    algorithm, member, variant = setting
    stepped: MemberState = descend(
        algorithm, member, gradient(member.params, 0, size), variant, 0.0, jnp.asarray(False)
    )
    jax.tree.map(np.testing.assert_array_equal, stepped.params, member.params)
    jax.tree.map(np.testing.assert_array_equal, stepped.opt_state, member.opt_state)
