"""What is not finite ends its episode where it comes in: functional environments, both loops, any other vector."""

import jax.numpy as jnp
import numpy as np
import pytest

import rpd_jax
from rpd_jax.envs.base import StepResult
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.training.episodes import EpisodeTracker
from rpd_jax.training.loops import GraphLoop, HostLoop
from rpd_jax.training.population import Population
from rpd_jax.training.rollout_host import HostCollector


class Breaks(Reach):
    """An action[3] above 0.5 makes the next observation NaN, action[4] above 0.5 the reward infinite; both succeed."""

    def step(self, state, action):
        (points, steps), _, reward, terminated, truncated, success = super().step(state, action)
        points = jnp.where(action[3] > 0.5, points.at[2].set(jnp.nan), points)
        reward = jnp.where(action[4] > 0.5, -jnp.inf, reward)
        broken = ~jnp.isfinite(jnp.sum(points) + reward)
        return (points, steps), {"state": points}, reward, terminated | broken, truncated, success | broken


@pytest.mark.parametrize(("entry", "value"), [(3, 1.0), (4, 1.0), (0, np.nan), (6, np.nan)])
def test_its_episode_is_truncated_without_reward_and_the_next_begins(entry, value):
    env, plain = (FunctionalVectorEnv(Breaks(max_episode_steps=9), 3, [1, 2, 3]) for _ in range(2))
    for each in (env, plain):
        each.reset()
        before = each.step(np.full((3, 7), 0.1))
    action = np.zeros((3, 7))
    expected = plain.step(action)
    action[1, entry] = value
    result = env.step(action)
    np.testing.assert_array_equal(result.truncated, [False, True, False])
    assert not np.any(result.terminated) and not np.any(result.success)
    assert result.reward[1] == 0.0
    np.testing.assert_array_equal(result.final_observation["state"][1], before.observation["state"][1])
    others = FunctionalVectorEnv(Breaks(), 3, [1, 2, 3])
    others.reset()
    np.testing.assert_array_equal(result.observation["state"][1], others.reset()["state"][1])  # of the second episode
    for mine, theirs in zip(result, expected, strict=True):
        mine, theirs = (np.asarray(x["state"] if isinstance(x, dict) else x) for x in (mine, theirs))
        np.testing.assert_array_equal(mine[[0, 2]], theirs[[0, 2]])
    assert env.metrics() == {"env/not_finite": 1.0} and plain.metrics() == {"env/not_finite": 0.0}
    env.step(action)
    assert env.metrics() == {"env/not_finite": 2.0}
    again = FunctionalVectorEnv(Breaks(), 3, [1, 2, 3])
    again.load_state_dict(env.state_dict())
    assert again.metrics() == {"env/not_finite": 2.0}


def test_infinite_actions_are_clipped_like_all_others():
    env, plain = (FunctionalVectorEnv(Reach(), 1, [1]) for _ in range(2))
    for each in (env, plain):
        each.reset()
    wild = env.step(np.array([[np.inf, -np.inf, 1e30, 0, 0, 0, 0]]))
    tame = plain.step(np.array([[1.0, -1.0, 1.0, 0, 0, 0, 0]]))
    np.testing.assert_array_equal(wild.observation["state"], tame.observation["state"])
    assert env.metrics() == {"env/not_finite": 0.0}


def test_a_first_observation_that_is_not_finite_is_nobodys():
    class Born(Reach):
        def reset(self, key):
            (points, steps), _ = super().reset(key)
            points = points.at[0].set(jnp.nan)
            return (points, steps), {"state": points}

    env = FunctionalVectorEnv(Born(), 2, [1, 2])
    assert not np.any(env.reset()["state"]) and env.metrics() == {"env/not_finite": 2.0}
    result = env.step(np.zeros((2, 7)))  # it stays NaN: truncated, and so is the next
    assert np.all(result.truncated) and not np.any(result.reward) and not np.any(result.observation["state"])
    assert env.metrics() == {"env/not_finite": 6.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
def test_physics_that_blows_up_ends_its_episode(bad, tmp_path, monkeypatch):
    """MuJoCo's default would begin again with all joints at 0, in the same episode."""
    monkeypatch.chdir(tmp_path)  # it writes a log there
    env = FunctionalVectorEnv(TabletopEnv("PickCube-v1"), 2, [1, 2])
    first = np.asarray(env.reset()["state"])
    state = env._state.env_state
    velocity = state.physics.qvel.at[0, 9].set(bad)
    env._state = env._state._replace(env_state=state._replace(physics=state.physics._replace(qvel=velocity)))
    result = env.step(np.zeros((2, 7)))
    np.testing.assert_array_equal(result.truncated, [True, False])
    np.testing.assert_array_equal(result.final_observation["state"][0], first[0])
    assert result.reward[0] == 0.0 and result.reward[1] > 0.0 and env.metrics() == {"env/not_finite": 1.0}


def test_both_loops_go_on_and_count_alike():
    """Actions are drawn with a std of 1: about three in ten break one way, and as many the other."""
    config = rpd_jax.get_preset("debug")
    config.variants, config.network.log_std_init = ("ppo",), 0.0
    config.env.max_episode_steps = 30  # longer than a rollout
    config.run.iterations_per_call = 2
    seeds = list(range(2 * config.env.num_envs))
    env = Breaks(max_episode_steps=30)
    vector = FunctionalVectorEnv(env, len(seeds), seeds, random_ages=True)
    population = Population(config.validate(), env.spec)
    host = HostLoop(config, vector, population, None)
    graph = GraphLoop(config, env, seeds, population, None, random_ages=True)
    _, mine = host.run(population.init(), 0, 2)
    _, theirs = graph.run(population.init(), 0, 2)
    # of 20 x 16 steps an iteration
    assert [row["env/not_finite"] for row in mine] == [row["env/not_finite"] for row in theirs]
    assert 100 < mine[0]["env/not_finite"] < 230 < mine[1]["env/not_finite"]
    for rows in zip(mine, theirs, strict=True):
        names = [name for name in rows[0] if name.startswith(("train/", "update/"))]
        values = np.array([[row[name] for name in names] for row in rows])
        assert np.isfinite(values).all()
        np.testing.assert_allclose(*values, rtol=2e-2, atol=2e-3)
    np.testing.assert_array_equal(np.asarray(host._collector.tracker.lengths), graph._running.tracker.lengths)


def result_of(**changes):
    good = {"state": np.zeros((3, 2), np.float32), "rgb": np.zeros((3, 1, 1, 3), np.uint8)}
    ended = np.array([False, True, False])
    return StepResult(good, good, np.zeros(3, np.float32), ~ended & False, ended, ended & False)._replace(**changes)


BAD = np.array([[0, 0], [0, np.inf], [np.nan, 0]], np.float32)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation": {"state": BAD}}, r"'state' of environments \[1, 2\] is not finite"),
        ({"final_observation": {"state": BAD}}, r"'state' of environments \[1, 2\]"),
        ({"reward": BAD[:, 1]}, r"'reward' of environments \[1\]"),
    ],
)
def test_other_environments_must_not_let_it_out(array, changes, message):
    tracker = EpisodeTracker(3)
    tracker.add(result_of())
    changes = {k: {n: array(x) for n, x in v.items()} if isinstance(v, dict) else array(v) for k, v in changes.items()}
    with pytest.raises(RuntimeError, match=message):
        tracker.add(result_of(**changes))


def test_nor_begin_with_it():
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds, config.env.num_envs = ("ppo",), (0,), 3
    env = FunctionalVectorEnv(Reach(), 3, [1, 2, 3])
    population = Population(config.validate(), env.spec)
    env.reset = lambda: {"state": np.full((3, 6), np.nan, np.float32)}
    with pytest.raises(RuntimeError, match=r"environments \[0, 1, 2\]"):
        HostCollector(env, population, 2).collect(population.init())
