"""Episodes that begin at random ages: who draws them, what they cut short, and who does so."""

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.algorithms.variants import parse_variant
from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs import registry
from rpd_jax.envs.base import episode_seed, first_ages
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.training.guidance_check import check_guidance

STEPS, SEEDS = 5, [3, 1, 4, 15, 9, 2, 6]


def make(seeds=SEEDS, **options):
    return FunctionalVectorEnv(Reach(STEPS, end_on_success=False), len(seeds), seeds, **options)


def ends(env, steps):
    """Whether each environment's episode was truncated, bool [steps, B]."""
    results = [env.step(np.zeros((env.num_envs, 7))) for _ in range(steps)]
    assert not any(np.asarray(result.terminated).any() for result in results)
    return np.array([np.asarray(result.truncated) for result in results])


def test_ages_are_uniform_and_each_seeds_own():
    ages = first_ages(range(4000), 10)
    assert ages.dtype == np.int32
    # 400 of each age are expected, with a standard deviation of 19
    assert all(310 < count < 490 for count in np.bincount(ages, minlength=10)) and ages.max() == 9
    np.testing.assert_array_equal(first_ages(range(100, 50, -1), 10), ages[100:50:-1])
    assert (first_ages(range(4000), 10, np.ones(4000, int)) == ages).mean() < 0.15, "another episode, another age"
    seeds = np.array([episode_seed(seed, 0) for seed in range(4000)])
    assert abs(np.corrcoef(seeds, first_ages(range(4000), 1000))[0, 1]) < 0.06


def test_only_the_first_episode_is_cut_short():
    """An episode of age a is truncated at step 5 - a, the following ones every five steps."""
    env, ages = make(random_ages=True), first_ages(SEEDS, STEPS)
    assert len(set(ages.tolist())) >= 3
    first = env.reset()
    np.testing.assert_array_equal(first["state"], make().reset()["state"])  # the age is no part of the state
    due = (np.arange(1, 14)[:, None] + ages) % STEPS == 0
    np.testing.assert_array_equal(ends(env, 13), due)
    alone = make(SEEDS[3:4], random_ages=True)
    alone.reset()
    np.testing.assert_array_equal(ends(alone, 13), due[:, 3:4])
    whole = make()
    whole.reset()
    np.testing.assert_array_equal(ends(whole, 13), np.tile(np.arange(1, 14)[:, None] % STEPS == 0, len(SEEDS)))


def test_a_checkpoint_remembers_ages_and_an_older_one_goes_on_without():
    env = make(random_ages=True)
    env.reset()
    ends(env, 2)
    state = jax.tree.map(np.copy, env.state_dict())
    expected = ends(env, 8)
    again = make(random_ages=True)
    again.load_state_dict(state)
    again.reset()
    np.testing.assert_array_equal(ends(again, 8), expected)
    # before there were ages, the environments alone counted: two steps of five are made
    older = {f"leaf_{i}": state[f"leaf_{i}"] for i in range(len(state) - 3)} | {"fresh": state["fresh"]}
    again.load_state_dict(older)
    again.reset()
    younger = first_ages(SEEDS, STEPS) < STEPS - 2  # the others have begun another one
    np.testing.assert_array_equal(ends(again, 3)[:, younger].all(axis=1), [False, False, True])


@pytest.mark.parametrize(
    ("name", "settings", "steps"),
    [
        ("toy:Reach-v0", {}, 20),
        ("toy:TwoStepCredit-v0", {"max_episode_steps": 7}, 2),
        ("tabletop:RollBall-v1", {}, 80),
        ("tabletop:PickCube-v1", {"horizon_scale": 10}, 500),
        ("maniskill:PickCube-v1", {"max_episode_steps": 30, "horizon_scale": 2}, 60),
    ],
)
def test_ages_are_random_where_rollouts_are_shorter_than_episodes(name, settings, steps):
    config = EnvConfig(name=name, **settings)
    assert registry.task_info(config).max_episode_steps == steps
    assert registry.random_ages(config, steps - 1, steps) and not registry.random_ages(config, steps, steps)
    for wanted in (True, False):
        config.random_ages = wanted
        assert all(registry.random_ages(config, length, steps) is wanted for length in (1, steps))
    assert [registry.unsettled_iterations(config, length, 60) for length in (50, 60, 70)] == [0, 0, 0]
    config.random_ages = None
    assert [registry.unsettled_iterations(config, length, 60) for length in (20, 50, 60)] == [3, 2, 0]


def horizon(**changes):
    """500 steps an episode, 50 a rollout; 200 iterations."""
    config = rpd_jax.get_preset("vlajs-horizon")
    config.guidance.window_iterations = changes.pop("window_iterations", config.guidance.window_iterations)
    for field, value in changes.items():
        setattr(config.env, field, value)
    return config


TRANSIENT = parse_variant("vlajs:window=10:query_fraction=0.1")


@pytest.mark.parametrize(
    "changes",
    [{}, {"random_ages": False}, {"random_ages": True, "window_iterations": 3}, {"window_iterations": 2}],
)
def test_progress_is_judged_by_whole_episodes_or_at_random_ages(changes):
    check_guidance(TRANSIENT, horizon(**changes))


@pytest.mark.parametrize("text", ["vlajs", "vlajs-persistent:kappa=1"])
def test_progress_inside_an_episode_is_refused(text):
    spec = parse_variant(f"{text}:window=10:query_fraction=0.1")
    config = horizon(random_ages=False, window_iterations=2)
    with pytest.raises(ConfigError, match=r"window_iterations=2 .* 100 steps are no whole .* of 500.* multiple of 10"):
        check_guidance(spec, config)
    check_guidance(parse_variant("vlajs-persistent:window=10:query_fraction=0.1"), config)
    config.algorithm.rollout_length, config.env.horizon_scale = 75, 1  # a window and a half of two episodes
    config.env.max_episode_steps = 50
    with pytest.raises(ConfigError, match=r"a multiple of 2$"):
        check_guidance(spec, horizon_of(config, 3))
    check_guidance(spec, horizon_of(config, 4))


def horizon_of(config, window_iterations):
    config.guidance.window_iterations = window_iterations
    return config


def test_the_first_episodes_iterations_count_as_well():
    """Random ages, 500 steps in rollouts of 50: ten iterations before the first of 3 windows of 2."""
    config = horizon(window_iterations=2)
    config.algorithm.total_steps = 50 * config.env.num_envs * 15
    with pytest.raises(ConfigError, match=r"15 iterations, fewer than 10 in which .* and 6 that"):
        check_guidance(TRANSIENT, config)
    config.algorithm.total_steps = 50 * config.env.num_envs * 16
    check_guidance(TRANSIENT, config)
