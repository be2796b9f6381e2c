"""Workers that fail, hang or are left behind, with toy environments in them: no simulator is needed."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from fake_rows import HANG, RAISE, SEEDS, actions, made_with, seeds_in, seeds_of, steps_in

from rpd_jax.envs.base import episode_seed
from rpd_jax.envs.maniskill import pool
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv


@pytest.fixture
def make(monkeypatch):
    """Makes environments whose workers run `fake_maniskill`: rows 0 and 1 are the first one's."""
    with made_with(monkeypatch, pool, "fake_maniskill", ManiSkillVectorEnv, processes=2) as build:
        yield build


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
    assert env.metrics()["env/worker_restarts"] == 1.0
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
    assert env.metrics()["env/worker_restarts"] == 1.0


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
    assert env.metrics()["env/worker_restarts"] == 3.0


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
