"""Every tabletop task: begins, steps, ends, stays finite, and is a function of its key."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.config import ConfigError
from rpd_jax.envs.functional import vector_reset, vector_step
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.tabletop.tasks import TASKS


def begin(env, count, seed=0):
    seeds = jnp.arange(seed, seed + count, dtype=jnp.uint32)
    return jax.jit(functools.partial(vector_reset, env))(seeds, jnp.zeros(count, jnp.int32))


def play(env, state, actions):
    """Steps with actions [T, B, 7]; returns the last state and what each step gave."""
    return jax.jit(lambda state: jax.lax.scan(lambda s, a: vector_step(env, s, a), state, actions))(state)


QUICK = ("PickCube-v1", "PegInsertionSide-v1")  # the other tasks are marked slow


@pytest.mark.parametrize(
    "task", [task if task in QUICK else pytest.param(task, marks=pytest.mark.slow) for task in TASKS]
)
def test_nothing_breaks_in_ten_thousand_steps(task):
    """25 environments x 400 steps: random actions, held corners of the box, corners that change at every step."""
    env = TabletopEnv(task, max_episode_steps=130, end_on_success=False)
    key = jax.random.split(jax.random.key(1), 3)
    random = jax.random.uniform(key[0], (400, 10, 7), minval=-1.0, maxval=1.0)
    corners = jnp.sign(jax.random.normal(key[1], (10, 8, 7)))
    held = jnp.repeat(corners, 40, axis=0)
    flipping = 1e3 * jnp.sign(jax.random.normal(key[2], (400, 7, 7)))
    state, result = play(env, begin(env, 25), jnp.concatenate([random, held, flipping], axis=1))
    for leaf in jax.tree.leaves((state.env_state.physics, result.observation, result.final_observation)):
        assert jnp.all(jnp.isfinite(leaf))
    assert jnp.all((result.reward >= -1e-6) & (result.reward <= 1.0 + 1e-6))
    # three episodes of 130 steps each ended by their length
    assert int(result.truncated.sum()) == 3 * 25 and not result.terminated.any()
    for name, spec in env.spec.observation.items():
        assert result.observation[name].shape[2:] == spec.shape
    for key_, layout in env.spec.layout.items():
        assert max(stop for _, stop in layout.values()) == env.spec.observation[key_].shape[0]
    low, _high = env.spec.layout["state"]["tcp_pose"]
    # the hand stays where its joints' limits let it
    assert float(jnp.abs(result.observation["state"][..., low : low + 3]).max()) < 1.2


def test_same_key_same_bits_whoever_the_neighbours_are():
    env = TabletopEnv("PickCube-v1", max_episode_steps=12)
    actions = jax.random.uniform(jax.random.key(0), (30, 8, 7), minval=-1.0, maxval=1.0)
    run = jax.jit(lambda state, actions: jax.lax.scan(lambda s, a: vector_step(env, s, a), state, actions)[1])
    once, again = run(begin(env, 8), actions), run(begin(env, 8), actions)
    jax.tree.map(np.testing.assert_array_equal, once, again)
    seeds = jnp.arange(8, dtype=jnp.uint32)[::-1]
    reversed_ = run(vector_reset(env, seeds, jnp.zeros(8, jnp.int32)), actions[:, ::-1])
    # another lane of a vector instruction may round the last bit another way, and contacts amplify that
    for name, x in once.observation.items():
        np.testing.assert_allclose(x[:10], reversed_.observation[name][:10, ::-1], atol=1e-5)
    # and each environment, and each of its episodes, is another one
    first = once.observation["state"][0]
    assert len(np.unique(np.asarray(first[:, -6:]), axis=0)) == 8
    low, high = env.spec.layout["state"]["goal_pos"]
    goals = np.asarray(once.observation["state"][:, 0, low:high])
    assert len(np.unique(goals, axis=0)) == 3  # 30 steps, episodes of 12


def test_success_ends_an_episode_only_where_asked():
    """PushCube with the cube put on its target: success at once."""
    for ends in (True, False):
        env = TabletopEnv("PushCube-v1", end_on_success=ends)
        state, _ = jax.jit(env.reset)(jax.random.key(0))
        goal = state.goal["goal_pos"]
        qpos = state.physics.qpos.at[8:11].set(jnp.array([goal[0], goal[1], 0.02]))
        state = state._replace(physics=state.physics._replace(qpos=qpos))
        _, _, reward, terminated, truncated, success = jax.jit(env.step)(state, jnp.zeros(7))
        assert bool(success) and bool(terminated) is ends and not bool(truncated)
        assert float(reward) == pytest.approx(1.0)


@pytest.mark.parametrize(("reward", "expected"), [("sparse", 0.0), ("normalized_dense", 0.25), ("dense", 1.0)])
def test_rewards_come_in_three_kinds(reward, expected):
    """PushCube, the hand exactly where one pushes from, the cube a whole way from its target.

    Dense: reaching 1; (place + place * z) * reached with place = 1 - tanh(5 * 0.2) = 0.238 comes on top:
    1 + 2 * 0.238 = 1.477, divided by 4 when normalised.
    """
    env = TabletopEnv("PushCube-v1", reward=reward)
    state, _ = jax.jit(env.reset)(jax.random.key(0))
    view = jax.jit(env.view)(state)
    behind = view.pose["cube"][:3] - jnp.array([0.025, 0.0, 0.0])
    view = view._replace(tcp=view.tcp.at[:3].set(behind))
    value = float(env._reward_of(view, env.task.success(view)))
    assert value == pytest.approx(expected * 1.4768, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"task": "PickCub-v1"}, "PickCube-v1"), ({"reward": "shaped"}, "env.reward"), ({"engine": "bullet"}, "physics")],
)
def test_mistakes_are_named(arguments, field):
    with pytest.raises(ConfigError, match=field):
        TabletopEnv(**{"task": "PickCube-v1", **arguments})
