"""The host collector: shapes, bootstrap values, episode statistics, whose environment is whose."""

import dataclasses

import jax
import numpy as np
import pytest

from rpd_jax.config import Config, EnvConfig, NetworkConfig, PPOConfig
from rpd_jax.envs.base import StepResult
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.training.episodes import EpisodeTracker
from rpd_jax.training.population import Population
from rpd_jax.training.rollout_host import HostCollector

T, N = 12, 3


def make(variants=("ppo", "rpd-mse"), seeds=(0, 5), steps=5, random_ages=False, **options):
    config = Config(
        variants=variants,
        seeds=seeds,
        env=EnvConfig(name="toy:Reach-v0", num_envs=N),
        network=NetworkConfig(hidden=(8,)),
        algorithm=PPOConfig(rollout_length=T, minibatches=1),
    ).validate()
    base = [s for _ in variants for seed in seeds for s in env_seeds(seed, N)]
    env = FunctionalVectorEnv(Reach(max_episode_steps=steps), len(base), base, random_ages=random_ages)
    population = Population(config, env.spec)
    return population, HostCollector(env, population, T, ("state",), **options)


class Watching:
    """Notes what a rollout shows of the environments of some members."""

    def __init__(self, members):
        self.rows = np.concatenate([p * N + np.arange(N) for p in members])
        self.starts, self.values, self.seen = [], [], []

    def begin(self, age, length):
        assert age.shape == self.shape and length == T

    def step(self, starts, value, see):
        self.starts.append(starts)
        self.values.append(value)
        self.seen.append(see(self.rows))

    shape = (4, N)


@pytest.mark.parametrize("random_ages", [False, True])
def test_bootstrap_values_are_those_of_the_true_next_observation(random_ages):
    population, collector = make(random_ages=random_ages)
    members = population.init()
    rollout = collector.collect(members)
    t = rollout.transition
    assert t.reward.shape == (T, 4, N)
    ended = t.terminated | t.truncated
    assert t.truncated[4].any() and not (t.terminated & t.truncated).any()
    assert t.truncated[:4].any() == random_ages  # first episodes that are cut short
    # inside an episode the next value is the next step's value
    value, next_value = t.extras["value"], t.extras["next_value"]
    np.testing.assert_allclose(next_value[:-1][~ended[:-1]], value[1:][~ended[:-1]], rtol=1e-6)
    # at its end it is the value of where the action led: position + 0.05 * clipped action, same goal
    state = t.observation["state"].copy()
    state[..., :3] += 0.05 * np.clip(t.action[..., :3], -1, 1)
    for step in range(T):
        final = np.asarray(population.look_ahead(members, {"state": state[step]})["value"])
        np.testing.assert_allclose(next_value[step], final, rtol=1e-4, atol=1e-5)


def test_arrays_that_stay_on_a_device_give_the_same_rollout():
    rollouts = []
    for keep_jax in (False, True):
        population, collector = make(keep_jax=keep_jax)
        members, watching = population.init(), Watching([1, 2])
        rollouts.append([(collector.collect(members, watching), watching.seen, watching.starts) for _ in range(2)])
        kind = jax.Array if keep_jax else np.ndarray
        for rollout, seen, _ in rollouts[-1]:
            t = rollout.transition
            kept = (t.observation["state"], t.action, t.reward, *t.extras.values())
            assert all(isinstance(x, kind) for x in (*kept, *(each["state"] for each in seen)))
    jax.tree.map(np.testing.assert_array_equal, *rollouts)


def test_starts_follow_ends_and_rollouts_continue():
    population, collector = make()
    members = population.init()
    first, second = collector.collect(members), collector.collect(members)
    assert first.starts[0].all()
    for rollout in (first, second):
        ended = rollout.transition.terminated | rollout.transition.truncated
        np.testing.assert_array_equal(rollout.starts[1:], ended[:-1])
    last_end = first.transition.terminated[-1] | first.transition.truncated[-1]
    np.testing.assert_array_equal(second.starts[0], last_end)


def test_a_members_rollout_is_the_same_alone():
    population, collector = make()
    rollout = collector.collect(population.init())
    alone_population, alone_collector = make(variants=("rpd-mse",), seeds=(5,))
    alone = alone_collector.collect(alone_population.init())
    np.testing.assert_allclose(rollout.transition.action[:, 3], alone.transition.action[:, 0], rtol=1e-5)
    np.testing.assert_allclose(
        rollout.transition.observation["state"][:, 3], alone.transition.observation["state"][:, 0], rtol=1e-5
    )


def test_the_teacher_is_shown_what_the_students_saw():
    population, collector = make()
    watching = Watching([2, 3])
    rollout = collector.collect(population.init(), watching)
    seen = np.stack([each["state"] for each in watching.seen]).reshape(T, 2, N, -1)
    np.testing.assert_array_equal(seen, rollout.transition.observation["state"][:, 2:])
    np.testing.assert_array_equal(np.stack(watching.starts), rollout.starts)
    np.testing.assert_array_equal(np.stack(watching.values), rollout.transition.extras["value"])


def test_frames_are_drawn_of_those_asked_about_only():
    population, collector = make()
    asked: list[list[int]] = []

    def frames(indices):
        asked.append(list(indices))
        return np.stack([np.full((2, 2, 3), i, np.uint8) for i in indices])

    collector.env.frames = frames
    collector.env.spec = dataclasses.replace(collector.env.spec, frame_shape=(2, 2, 3))
    collector.teacher_keys = ("rgb",)
    watching = Watching([1, 3])
    collector.collect(population.init(), watching)
    assert asked == [[3, 4, 5, 9, 10, 11]] * T
    assert watching.seen[0]["rgb"].shape == (6, 2, 2, 3) and watching.seen[0]["rgb"][5, 0, 0, 0] == 11


def test_episode_statistics_by_hand():
    tracker = EpisodeTracker(2)

    def step(reward, success, terminated, truncated):
        array = [np.array(x) for x in (reward, terminated, truncated, success)]
        return tracker.add(StepResult({}, {}, array[0], array[1], array[2], array[3]))

    assert len(step([1.0, 2.0], [True, False], [False, False], [False, False])["index"]) == 0
    ended = step([1.0, 3.0], [False, False], [False, False], [True, False])
    assert ended["index"].tolist() == [0]
    assert (ended["return"][0], ended["length"][0]) == (2.0, 2)
    assert ended["success_once"][0] and not ended["success_at_end"][0]
    ended = step([5.0, 4.0], [False, True], [False, True], [True, False])
    assert ended["return"].tolist() == [5.0, 9.0]
    assert ended["success_once"].tolist() == [False, True]


def test_restoring_continues_in_the_middle_of_an_episode():
    population, collector = make()
    members = population.init()
    collector.collect(members)
    state = jax.tree.map(np.copy, collector.state_dict())
    expected = collector.collect(members)
    _, fresh = make()
    fresh.load_state_dict(state)
    resumed = fresh.collect(members)
    jax.tree.map(np.testing.assert_array_equal, expected.transition, resumed.transition)
    np.testing.assert_array_equal(expected.starts, resumed.starts)
    assert expected.episodes == resumed.episodes


def test_a_vector_of_functional_environments_wants_one_seed_each():
    with pytest.raises(ValueError, match="one for each"):
        FunctionalVectorEnv(Reach(), 3, [1, 2])
