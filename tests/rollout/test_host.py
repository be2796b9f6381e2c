"""The host collector: shapes, bootstrap values, episode statistics, whose environment is whose."""

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
        ppo=PPOConfig(rollout_length=T, minibatches=1),
    ).validate()
    base = [s for _ in variants for seed in seeds for s in env_seeds(seed, N)]
    env = FunctionalVectorEnv(Reach(max_episode_steps=steps), len(base), base, random_ages=random_ages)
    population = Population(config, env.spec)
    return population, HostCollector(env, population, T, ("state",), **options)


@pytest.mark.parametrize("random_ages", [False, True])
def test_bootstrap_values_are_those_of_the_true_next_observation(random_ages):
    population, collector = make(random_ages=random_ages)
    members = population.init()
    rollout = collector.collect(members, guided=[1])
    t = rollout.transition
    assert t.reward.shape == (T, 4, N)
    ended = t.terminated | t.truncated
    assert t.truncated[4].any() and not (t.terminated & t.truncated).any()
    assert t.truncated[:4].any() == random_ages  # first episodes that are cut short
    # inside an episode the next value is the next step's value
    np.testing.assert_allclose(t.next_value[:-1][~ended[:-1]], t.value[1:][~ended[:-1]], rtol=1e-6)
    # at its end it is the value of where the action led: position + 0.05 * clipped action, same goal
    state = t.observation["state"].copy()
    state[..., :3] += 0.05 * np.clip(t.action[..., :3], -1, 1)
    for step in range(T):
        final = np.asarray(population.values(members, {"state": state[step]}))
        np.testing.assert_allclose(t.next_value[step], final, rtol=1e-4, atol=1e-5)


def test_arrays_that_stay_on_a_device_give_the_same_rollout():
    rollouts = []
    for keep_jax in (False, True):
        population, collector = make(keep_jax=keep_jax)
        members = population.init()
        rollouts.append([collector.collect(members, guided=[1, 2]) for _ in range(2)])
        kind = jax.Array if keep_jax else np.ndarray
        for rollout in rollouts[-1]:
            t = rollout.transition
            kept = (t.observation["state"], t.action, t.log_prob, t.value, t.next_value, t.reward)
            assert all(isinstance(x, kind) for x in (*kept, rollout.teacher_observation["state"]))
    jax.tree.map(np.testing.assert_array_equal, *rollouts)


class EveryThird:
    """Of two members, the environments whose number and the step's add up to a multiple of three ask."""

    members = (1, 3)

    def begin(self, age):
        self.ages = age

    def ask(self, step, begins, values):
        assert isinstance(values, np.ndarray) and values.shape == begins.shape == (2, N)
        return np.tile((np.arange(N) + step) % 3 == 0, (2, 1)) & (step < 7)


def test_what_is_asked_and_shown_is_the_same_where_it_stays_on_a_device():
    found = []
    for keep_jax in (False, True):
        population, collector = make(keep_jax=keep_jax)
        shown = []
        rollout = collector.collect(
            population.init(), [0], lambda seen, starts, to=shown: to.append((seen, starts)), EveryThird()
        )
        assert rollout.teacher_observation == {} and len(shown) == T
        kind = jax.Array if keep_jax else np.ndarray
        assert all(isinstance(asked.observation["state"], kind) for asked in rollout.asked)
        found.append((rollout.asked, shown))
    jax.tree.map(np.testing.assert_array_equal, *found)
    asked = found[0][0][1]
    assert asked.where.sum() == len(asked.observation["state"]) == 7


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


def test_only_guided_members_are_kept_for_the_teacher():
    population, collector = make()
    rollout = collector.collect(population.init(), guided=[2, 3])
    np.testing.assert_array_equal(rollout.teacher_observation["state"], rollout.transition.observation["state"][:, 2:])
    assert collector.collect(population.init()).teacher_observation == {}


def test_frames_are_drawn_for_guided_members_only():
    population, collector = make()
    asked: list[list[int]] = []

    def frames(indices):
        asked.append(list(indices))
        return np.stack([np.full((2, 2, 3), i, np.uint8) for i in indices])

    collector.env.frames = frames
    collector.teacher_keys = ("rgb",)
    rollout = collector.collect(population.init(), guided=[1, 3])
    assert asked == [[3, 4, 5, 9, 10, 11]] * T
    assert rollout.teacher_observation["rgb"].shape == (T, 2, N, 2, 2, 3)
    assert rollout.teacher_observation["rgb"][0, 1, 2, 0, 0, 0] == 11


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
