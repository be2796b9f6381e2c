"""The vector environment around its workers, with toy environments in them: no simulator is needed."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from rpd_jax.envs import maniskill
from rpd_jax.envs.base import episode_seed
from rpd_jax.envs.maniskill import ManiSkillVectorEnv

HERE = Path(__file__).parent
SEEDS = [11, 12, 13, 14, 15]
SUCCEED, RAISE, HANG = [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]


@pytest.fixture
def make(monkeypatch):
    """Makes environments whose workers run `fake_maniskill`: rows 0 and 1 are the first one's."""
    monkeypatch.setattr(maniskill, "_WORKER", "fake_maniskill")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    made = []

    def build(**options):
        options = {"max_episode_steps": 4, "processes": 2, "image_size": 8, "deadline_s": 30.0, **options}
        made.append(ManiSkillVectorEnv("PickCube-v1", len(SEEDS), SEEDS, **options))
        return made[-1]

    yield build
    for env in made:
        env.close()


def seeds_in(observation):
    return observation["state"][:, 25].astype(int).tolist()


def steps_in(observation):
    return observation["state"][:, 26].astype(int).tolist()


def seeds_of(episodes):
    return [episode_seed(seed, k) % 1000 for seed, k in zip(SEEDS, episodes, strict=True)]


def actions(rows=None, values=None):
    array = np.zeros((len(SEEDS), 3))
    if rows is not None:
        array[rows] = values
    return array


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
    assert [bool(env._arrays["frame"][i].any()) for i in range(5)] == [False, True, False, True, False]
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


def check_lost(result, before, rows):
    """Rows whose worker failed, against the others, in the step that reports it."""
    lost = np.isin(np.arange(5), rows)
    assert result.truncated.tolist() == lost.tolist()
    assert not result.terminated.any()
    assert not result.reward[lost].any()
    assert result.reward[~lost].all()
    for name in before:
        np.testing.assert_array_equal(result.final_observation[name][lost], before[name][lost])
    assert [steps_in(result.observation)[i] for i in rows] == [0] * len(rows)


@pytest.mark.parametrize("how", ["killed", "raises", "hangs"])
def test_a_worker_that_fails_in_a_step_costs_its_episodes_only(make, how):
    env = make(deadline_s=1.5 if how == "hangs" else 30.0)
    env.reset()
    before = env.step(actions()).observation
    values = actions([0, 1, 2, 3, 4], [0.0, 0.0, 0.5])
    if how == "killed":
        os.kill(env._pool.processes[1].pid, signal.SIGKILL)
    else:
        values[3, :2] = (RAISE if how == "raises" else HANG)[:2]
    result = env.step(values)
    check_lost(result, before, [2, 3, 4])
    assert seeds_in(result.observation) == seeds_of([0, 0, 1, 1, 1])
    assert env.metrics() == {"env/worker_restarts": 1.0}
    assert env.state_dict()["episode"].tolist() == [1, 1, 2, 2, 2]
    result = env.step(actions())
    assert steps_in(result.observation) == [3, 3, 1, 1, 1]
    assert not result.truncated.any()


def test_a_worker_that_dies_while_drawing_is_reported_by_the_next_step(make):
    env = make()
    env.reset()
    before = env.step(actions()).observation
    os.kill(env._pool.processes[0].pid, signal.SIGKILL)
    frames = env.frames([1, 2])
    assert frames[0, 5, 5, 0] == episode_seed(SEEDS[1], 1) % 200  # of the next episode already
    assert frames[1, 5, 5, 0] == episode_seed(SEEDS[2], 0) % 200
    result = env.step(actions([0, 1, 2, 3, 4], [0.0, 0.0, 0.5]))
    check_lost(result, before, [0, 1])
    assert seeds_in(result.observation) == seeds_of([1, 1, 0, 0, 0])
    assert env.state_dict()["episode"].tolist() == [2, 2, 1, 1, 1]
    assert steps_in(env.step(actions()).observation) == [1, 1, 3, 3, 3]


def test_a_worker_that_dies_in_reset_begins_the_same_episodes(make, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_BAD_RESET", "1")
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "died"))
    env = make()
    assert seeds_in(env.reset()) == seeds_of([0] * 5)
    assert env.metrics()["env/worker_restarts"] >= 1
    assert not env.step(actions()).truncated.any()


def test_both_workers_may_fail_at_once(make):
    env = make()
    env.reset()
    before = env.step(actions()).observation
    for process in env._pool.processes:
        os.kill(process.pid, signal.SIGKILL)
    check_lost(env.step(actions()), before, [0, 1, 2, 3, 4])


def test_an_interrupted_step_needs_a_reset_which_works(make):
    env = make(deadline_s=1.0)
    env.reset()

    def interrupt(*unused):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            env.step(actions([4], HANG))
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(actions())
    assert seeds_in(env.reset()) == seeds_of([1] * 5)
    assert steps_in(env.step(actions()).observation) == [1] * 5
    assert env.metrics() == {"env/worker_restarts": 1.0}


def test_a_worker_that_fails_again_and_again_ends_the_run_with_its_last_output(make):
    env = make(max_episode_steps=50)
    env.reset()
    for _ in range(2):
        env.step(actions([0], RAISE))
        env.step(actions([4], RAISE))  # the other worker: counted apart
    with pytest.raises(RuntimeError, match=r"worker 0 \(environments 0 to 1\) failed 3 times") as caught:
        env.step(actions([0], RAISE))
    assert "the simulation exploded" in str(caught.value)
    assert "in step" in str(caught.value)
    with pytest.raises(RuntimeError, match="closed"):
        env.step(actions())


def test_restarts_long_ago_do_not_count(make):
    env = make(max_episode_steps=500)
    env.reset()
    for _ in range(3):
        env.step(actions([0], RAISE))
        for _ in range(60):
            env.step(actions())
    assert env.metrics() == {"env/worker_restarts": 3.0}


def test_close_is_idempotent_and_ends_the_workers(make):
    env = make()
    pids = [process.pid for process in env._pool.processes]
    env.close()
    env.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    for call in (env.reset, lambda: env.step(actions()), lambda: env.frames([0])):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_no_worker_outlives_the_object(make):
    made = []

    def forget():
        env = ManiSkillVectorEnv("PickCube-v1", 1, [0])
        made.extend(process.pid for process in env._pool.processes)

    make()
    forget()
    gc.collect()
    assert made
    assert not any(Path(f"/proc/{pid}").exists() for pid in made)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.step(np.zeros((5, 4))), r"action: shape must be \(5, 3\), got \(5, 4\)"),
        (lambda env: env.step(np.zeros(3)), r"action: shape must be \(5, 3\), got \(3,\)"),
        (lambda env: env.step(actions([2], np.nan)), r"NaN for environments \[2\]"),
        (lambda env: env.frames([5]), r"indices: must be in \[0, 5\), got 5"),
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
