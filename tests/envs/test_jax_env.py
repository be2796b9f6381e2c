"""Environments with gymnax's signatures: what steps give, ends and limits of episodes, spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.config import ConfigError
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.jax_env import EnvParams, JaxEnv, make
from rpd_jax.envs.toy.reach import Reach

KEY, OTHER = jax.random.key(0), jax.random.key(1)


@pytest.fixture(scope="module")
def env():
    return JaxEnv(Reach(max_episode_steps=3))


def towards(observation):
    """The action that moves by at most 0.05 m a step towards the goal."""
    return jnp.concatenate([jnp.clip((observation[3:] - observation[:3]) / 0.05, -1, 1), jnp.zeros(4)])


def test_a_step_moves_as_the_environment_does(env):
    observation, state = env.reset(KEY, env.default_params)
    assert observation.shape == (6,) and int(state.age) == 0
    seen, state, reward, done, info = jax.jit(env.step)(KEY, state, jnp.ones(7), env.default_params)
    np.testing.assert_allclose(seen[:3], observation[:3] + 0.05, atol=1e-6)
    np.testing.assert_array_equal(info["final_observation"], seen)
    assert reward.shape == () and not done and int(state.age) == 1
    np.testing.assert_array_equal(env.reset(KEY)[0], observation)
    assert not np.allclose(env.reset(OTHER)[0], observation)


def test_an_end_begins_the_next_episode_by_the_key_of_that_step(env):
    _, state = env.reset(KEY)
    for _ in range(2):
        before, state, *_, info = env.step(KEY, state, jnp.zeros(7))
        assert not info["truncated"]
    first, after, _, done, info = env.step(KEY, state, jnp.zeros(7))
    assert done and info["truncated"] and not info["terminated"] and info["discount"] == 1.0
    np.testing.assert_array_equal(info["final_observation"], before)  # nothing moved
    assert not np.allclose(first, before) and int(after.age) == 0
    other, *_ = env.step(OTHER, state, jnp.zeros(7))
    assert not np.allclose(other, first)
    stayed, last, _, done, _ = env.step_env(KEY, state, jnp.zeros(7))
    assert done and int(last.age) == 3
    np.testing.assert_array_equal(stayed, before)


def test_success_terminates():
    env = JaxEnv(Reach(max_episode_steps=20))
    observation, state = env.reset(KEY)
    step = jax.jit(env.step)
    for _ in range(20):
        observation, state, _, done, info = step(KEY, state, towards(observation))
        if done:
            break
    assert info["success"] and info["terminated"] and not info["truncated"] and info["discount"] == 0.0


def test_the_limit_is_a_parameter_over_which_one_vmaps():
    env = JaxEnv(Reach(max_episode_steps=9))
    assert env.default_params == EnvParams(9)
    limits = EnvParams(jnp.array([1, 2, 30]))

    def ends(params):
        def step(state, key):
            _, state, _, done, _ = env.step(key, state, jnp.zeros(7), params)
            return state, done

        return jax.lax.scan(step, env.reset(KEY, params)[1], jax.random.split(KEY, 9))[1]

    done = np.asarray(jax.vmap(ends)(limits))
    np.testing.assert_array_equal(np.flatnonzero(done[0]), range(9))
    np.testing.assert_array_equal(np.flatnonzero(done[1]), [1, 3, 5, 7])
    np.testing.assert_array_equal(np.flatnonzero(done[2]), [8])  # the environment's own


def test_what_is_no_number_ends_the_episode(env):
    observation, state = env.reset(KEY)
    _, _, reward, done, info = env.step(KEY, state, jnp.full(7, jnp.nan))
    assert done and info["truncated"] and reward == 0.0
    np.testing.assert_array_equal(info["final_observation"], observation)


def test_it_steps_as_the_host_vector_does(env):
    vector = FunctionalVectorEnv(env.env, 1, [4])
    vector.reset()
    state = jax.tree.map(lambda x: x[0], vector._state)
    action = 0.3 * jnp.ones(7)
    result = vector.step(action[None])
    seen, _, reward, _, _ = env.step(KEY, state, action)
    np.testing.assert_allclose(seen, result.observation["state"][0], atol=1e-6)
    np.testing.assert_allclose(reward, result.reward[0], atol=1e-6)


def test_spaces(env):
    space = env.action_space(env.default_params)
    assert env.num_actions == 7 and space.shape == (7,) and space.dtype == np.float32
    action = space.sample(KEY)
    assert space.contains(action) and not space.contains(2.0 + action)
    assert env.observation_space().shape == (6,) and env.name == "toy:Reach-v0"
    with pytest.raises(ValueError, match="unbounded"):
        env.observation_space().sample(KEY)
    with pytest.raises(ConfigError, match="observation='rgb' is unknown: choose from state"):
        JaxEnv(Reach(), "rgb")


def test_a_tabletop_task_in_a_scan():
    env, params = make("tabletop:PushCube-v1", "ee+proprio", max_episode_steps=2, engine="c")
    assert env.observation_space()["proprio"].shape == (23,) and params.max_steps_in_episode == 2
    keys = jax.random.split(KEY, 3)
    observation, state = jax.vmap(env.reset, (0, None))(keys, params)
    assert observation["proprio"].shape == (3, 23)

    @jax.jit
    def play(state):
        def step(state, key):
            action = jax.vmap(env.action_space(params).sample)(jax.random.split(key, 3))
            step_all = jax.vmap(env.step, (0, 0, 0, None))
            observation, state, reward, done, _ = step_all(jax.random.split(key, 3), state, action, params)
            return state, (observation["ee"], reward, done)

        return jax.lax.scan(step, state, keys)

    state, (seen, reward, done) = play(state)
    np.testing.assert_array_equal(done, [[False] * 3, [True] * 3, [False] * 3])
    assert np.isfinite(seen).all() and (np.asarray(reward) > 0).all()
