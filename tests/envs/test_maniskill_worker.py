"""The vector environment around its workers, with toy environments in them: no simulator is needed."""

import numpy as np
import pytest
from fake_rows import (
    BAD_CALLS,
    SEEDS,
    SUCCEED,
    actions,
    check_not_finite,
    check_random_ages,
    made_with,
    seeds_in,
    seeds_of,
    steps_in,
)

from rpd_jax.envs.base import episode_seed
from rpd_jax.envs.maniskill import pool
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv


@pytest.fixture
def make(monkeypatch):
    """Makes environments whose workers run `fake_maniskill`: rows 0 and 1 are the first one's."""
    with made_with(monkeypatch, pool, "fake_maniskill", ManiSkillVectorEnv, processes=2) as build:
        yield build


def test_episodes_end_by_success_and_by_time_and_follow_the_sequence_of_seeds(make):
    env = make()
    assert seeds_in(env.reset()) == seeds_of([0] * 5)
    result = env.step(actions([1, 4], SUCCEED))
    assert result.terminated.tolist() == result.success.tolist() == [False, True, False, False, True]
    assert not result.truncated.any()
    assert steps_in(result.final_observation) == [1] * 5
    assert seeds_in(result.final_observation) == seeds_of([0] * 5)
    assert steps_in(result.observation) == [1, 0, 1, 1, 0]
    assert seeds_in(result.observation) == seeds_of([0, 1, 0, 0, 1])
    for _ in range(2):
        result = env.step(actions())
        assert not (result.terminated | result.truncated).any()
        np.testing.assert_array_equal(result.observation["state"], result.final_observation["state"])
    result = env.step(actions())
    assert result.truncated.tolist() == [True, False, True, True, False]
    assert not result.terminated.any()
    assert steps_in(result.final_observation) == [4, 3, 4, 4, 3]
    assert seeds_in(result.observation) == seeds_of([1, 1, 1, 1, 1])
    assert env.state_dict()["episode"].tolist() == [2, 2, 2, 2, 2]


def test_success_in_the_last_step_is_both(make):
    env = make(max_episode_steps=1)
    env.reset()
    result = env.step(actions([0], SUCCEED))
    assert result.terminated.tolist() == [True, False, False, False, False]
    assert result.truncated.all()


def test_without_end_on_success_episodes_run_to_their_limit(make):
    env = make(end_on_success=False)
    env.reset()
    flags = [env.step(actions([2], SUCCEED)) for _ in range(4)]
    assert all(result.success.tolist() == [False, False, True, False, False] for result in flags)
    assert not any(result.terminated.any() for result in flags)
    assert [result.truncated.all() for result in flags] == [False, False, False, True]


def test_rewards_arrive_and_actions_are_clipped_to_the_box(make):
    env = make()
    env.reset()
    values = np.zeros((5, 3))
    values[:, 2] = [0.25, -0.5, 7.0, -9.0, np.inf]
    result = env.step(values)
    assert result.reward.dtype == np.float32
    assert result.reward.tolist() == [0.25, -0.5, 1.0, -1.0, 1.0]


def test_a_horizon_scale_lengthens_episodes_and_divides_actions_once_clipped(make):
    env = make(horizon_scale=4, max_episode_steps=2)
    env.reset()
    values = np.zeros((5, 3))
    values[:, 2] = [0.25, -0.5, 7.0, -9.0, 1.0]
    results = [env.step(values) for _ in range(8)]
    assert results[0].reward.tolist() == [0.0625, -0.125, 0.25, -0.25, 0.25]
    assert [bool(result.truncated.all()) for result in results] == [False] * 7 + [True]


def test_results_are_not_overwritten_by_later_steps(make):
    env = make()
    first = env.reset()
    second = env.step(actions())
    env.step(actions([0], SUCCEED))
    assert steps_in(first) == [0] * 5
    assert steps_in(second.observation) == [1] * 5
    assert not second.terminated.any()


def test_the_sequence_of_seeds_continues_after_load_state_dict(make):
    first, second = make(), make(processes=1)
    first.reset()
    first.step(actions([1], SUCCEED))
    state = first.state_dict()
    second.load_state_dict(state)
    assert seeds_in(second.reset()) == seeds_in(first.reset()) == seeds_of([1, 2, 1, 1, 1])
    result = second.step(actions([1, 2], SUCCEED))
    assert seeds_in(result.observation) == seeds_of([1, 3, 2, 1, 1])
    second.load_state_dict(state)
    with pytest.raises(RuntimeError, match="call reset"):
        second.step(actions())


def test_episodes_begin_at_random_ages(make):
    check_random_ages(make)


def test_an_environment_that_gives_what_is_not_finite_begins_anew(make):
    env = check_not_finite(make)
    result = env.step(actions())
    assert seeds_in(result.observation) == seeds_of([1, 1, 1, 2, 1])


def test_a_first_observation_that_is_not_finite_ends_its_episode(make, monkeypatch):
    monkeypatch.setenv("FAKE_NAN_RESET", str(episode_seed(SEEDS[2], 1)))
    env = make(max_episode_steps=1)
    env.reset()
    first = env.step(actions())
    assert first.observation["state"][2].tolist() == [0.0] * 27 and env.metrics()["env/not_finite"] == 0.0
    second = env.step(actions(slice(None), SUCCEED))
    assert second.terminated.tolist() == [True, True, False, True, True] and second.truncated[2]
    assert seeds_in(second.observation) == seeds_of(2) and env.metrics()["env/not_finite"] == 1.0


def test_frames_draws_only_what_is_asked(make):
    env = make()
    env.reset()
    env.step(actions())
    frames = env.frames([3, 1, 3])
    assert frames.shape == (3, 8, 8, 3)
    assert frames.dtype == np.uint8
    grey = [episode_seed(SEEDS[i], 0) % 200 for i in (3, 1, 3)]
    assert frames[:, 5, 5, 0].tolist() == grey
    assert frames[:, 0, 0, 0].tolist() == [1, 1, 1]
    assert [bool(env._arrays["rgb"][i].any()) for i in range(5)] == [False, True, False, True, False]
    assert env.frames([]).shape == (0, 8, 8, 3)
    env.frames([0])
    assert frames[:, 5, 5, 0].tolist() == grey


def test_pictures_of_every_state_and_of_final_states(make):
    env = make(observations=("rgb",), max_episode_steps=2)
    observation = env.reset()
    np.testing.assert_array_equal(env.frames([4, 0]), observation["rgb"][[4, 0]])
    env.step(actions())
    result = env.step(actions())
    assert result.final_observation["rgb"][:, 0, 0, 0].tolist() == [2] * 5
    assert result.observation["rgb"][:, 0, 0, 0].tolist() == [0] * 5
    assert env.spec.observation["rgb"].shape == env.spec.frame_shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *BAD_CALLS,
        (lambda env: env.frames([-1]), r"indices: must be in \[0, 5\), got -1"),
        (lambda env: env.load_state_dict({}), "need the entry 'episode'"),
        (lambda env: env.load_state_dict({"episode": np.zeros(4, int)}), "need 5 counts"),
        (lambda env: env.load_state_dict({"episode": np.zeros(5)}), "need 5 counts, got float64"),
        (lambda env: env.load_state_dict({"episode": np.full(5, -1)}), "need 5 counts"),
    ],
)
def test_bad_inputs_of_methods(make, call, message):
    env = make()
    env.reset()
    with pytest.raises(ValueError, match=message):
        call(env)


def test_step_and_frames_need_a_reset_first(make):
    env = make()
    with pytest.raises(RuntimeError, match=r"call reset\(\) before step"):
        env.step(actions())
    with pytest.raises(RuntimeError, match=r"call reset\(\) before frames"):
        env.frames([0])
