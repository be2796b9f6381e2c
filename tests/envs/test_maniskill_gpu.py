"""The batched ManiSkill environment: with a toy simulator, beside the pool of single environments, and on a GPU."""

import dataclasses
import functools
import os
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from fake_rows import (
    BAD_CALLS,
    HANG,
    RAISE,
    SUCCEED,
    actions,
    check_not_finite,
    check_random_ages,
    column,
    made_with,
    seeds_in,
    seeds_of,
    steps_in,
)

from rpd_jax.config import Config, ConfigError, EnvConfig
from rpd_jax.envs import registry
from rpd_jax.envs.maniskill import gpu as maniskill_gpu
from rpd_jax.envs.maniskill.gpu import ManiSkillGPUVectorEnv
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv

pytest.importorskip("torch")


@pytest.fixture(params=["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def make(request, monkeypatch):
    create = functools.partial(ManiSkillGPUVectorEnv, device=request.param)
    with made_with(monkeypatch, maniskill_gpu, "fake_maniskill_gpu", create) as build:
        yield build


def flags(result):
    return [np.asarray(x).astype(int).tolist() for x in (result.terminated, result.truncated, result.success)]


def test_only_what_ended_is_reset_and_its_last_observation_kept(make):
    env = make()
    first = env.reset()
    assert seeds_in(first) == seeds_of(0)
    result = env.step(actions([1, 4], SUCCEED))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(result))
    assert flags(result) == [[0, 1, 0, 0, 1], [0] * 5, [0, 1, 0, 0, 1]]
    assert steps_in(result.final_observation) == [1] * 5
    assert seeds_in(result.final_observation) == seeds_of(0)
    assert steps_in(result.observation) == [1, 0, 1, 1, 0]
    assert column(result.observation, 27) == [1, 2, 1, 1, 2]
    for _ in range(2):
        again = env.step(actions())
        np.testing.assert_array_equal(again.observation["state"], again.final_observation["state"])
    last = env.step(actions())  # the fourth step of those that were not reset
    assert flags(last) == [[0] * 5, [1, 0, 1, 1, 0], [0] * 5]
    assert steps_in(last.final_observation) == [4, 3, 4, 4, 3]
    assert steps_in(last.observation) == [0, 3, 0, 0, 3]
    assert env.state_dict()["episode"].tolist() == [2] * 5
    # What was given earlier is not touched by what came later.
    assert steps_in(first) == [0] * 5
    assert steps_in(result.observation) == [1, 0, 1, 1, 0]
    assert result.observation["proprio"].shape == (5, 25)


def test_where_all_end_together_each_begins_with_its_own_seed(make):
    env = make(end_on_success=False)
    env.reset()
    steps = [env.step(actions([2], SUCCEED)) for _ in range(4)]
    assert all(flags(result)[2] == [0, 0, 1, 0, 0] for result in steps)
    assert not any(np.asarray(result.terminated).any() for result in steps)
    assert [np.asarray(result.truncated).all() for result in steps] == [False, False, False, True]
    assert seeds_in(steps[-1].observation) == seeds_of(1)
    assert seeds_in(steps[-1].final_observation) == seeds_of(0)
    state = env.state_dict()
    other = make()
    other.load_state_dict(state)
    assert seeds_in(other.reset()) == seeds_of(2)


def test_episodes_begin_at_random_ages(make):
    check_random_ages(make)


def test_an_environment_that_gives_what_is_not_finite_begins_anew(make):
    check_not_finite(make)


def test_success_in_the_last_step_is_both(make):
    env = make(max_episode_steps=1)
    env.reset()
    assert flags(env.step(actions([0], SUCCEED)))[:2] == [[1, 0, 0, 0, 0], [1] * 5]


@pytest.mark.parametrize("kind", [np.asarray, jax.numpy.asarray])
def test_actions_of_either_kind_are_clipped_to_the_box(make, kind):
    env = make()
    env.reset()
    values = actions()
    values[:, 2] = [0.25, -0.5, 7.0, -9.0, np.inf]
    result = env.step(kind(values))
    assert result.reward.dtype == np.float32
    assert np.asarray(result.reward).tolist() == [0.25, -0.5, 1.0, -1.0, 1.0]


@pytest.mark.parametrize("how", ["killed", "raises", "hangs"])
def test_a_worker_that_fails_mid_step_truncates_all_and_is_replaced(make, how):
    env = make(deadline_s=1.5 if how == "hangs" else 30.0)
    env.reset()
    before = env.step(actions()).observation
    values = actions([0, 1, 2, 3, 4], [0.0, 1.0, 0.5])
    if how != "raises":
        values[3] = HANG
    else:
        values[3] = RAISE
    if how == "killed":
        pid = env._pool.processes[0].pid
        timer = threading.Timer(0.7, os.kill, (pid, signal.SIGKILL))  # while it hangs
        timer.start()
    result = env.step(values)
    assert flags(result) == [[0] * 5, [1] * 5, [0] * 5]
    assert not np.asarray(result.reward).any()
    for name in before:
        np.testing.assert_array_equal(result.final_observation[name], before[name])
    assert steps_in(result.observation) == [0] * 5
    assert seeds_in(result.observation) == seeds_of(1)
    assert env.metrics() == {"env/worker_restarts": 1.0, "env/not_finite": 0.0}
    assert env.state_dict()["episode"].tolist() == [2] * 5
    assert steps_in(env.step(actions()).observation) == [1] * 5


def test_a_worker_that_dies_while_drawing_is_reported_by_the_next_step(make):
    env = make()
    env.reset()
    before = env.step(actions()).observation
    os.kill(env._pool.processes[0].pid, signal.SIGKILL)
    assert env.frames([2])[0, 0, 0, 0] == 0  # of the next episode already
    result = env.step(actions())
    assert flags(result)[1] == [1] * 5
    np.testing.assert_array_equal(result.final_observation["state"], before["state"])
    assert env.state_dict()["episode"].tolist() == [2] * 5


def test_frames_on_demand_in_any_order_and_number(make, monkeypatch):
    monkeypatch.setattr(maniskill_gpu, "_PICTURES", 2)
    env = make()
    env.reset()
    env.step(actions([3], SUCCEED))
    frames = env.frames([3, 1, 0, 3, 4])
    assert frames.shape == (5, 8, 8, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 5, 5, 0].tolist() == [0, 1, 1, 0, 1]
    assert env.frames([]).shape == (0, 8, 8, 3)


def test_pictures_of_every_state_and_of_final_states(make):
    env = make(observations=("rgb",), max_episode_steps=2)
    observation = env.reset()
    np.testing.assert_array_equal(env.frames([4, 0]), np.asarray(observation["rgb"])[[4, 0]])
    result = env.step(actions([0], SUCCEED))
    assert np.asarray(result.final_observation["rgb"])[:, 0, 0, 0].tolist() == [1] * 5
    assert np.asarray(result.observation["rgb"])[:, 0, 0, 0].tolist() == [0, 1, 1, 1, 1]
    result = env.step(actions())
    assert np.asarray(result.final_observation["rgb"])[:, 0, 0, 0].tolist() == [1, 2, 2, 2, 2]
    assert np.asarray(result.observation["rgb"])[:, 0, 0, 0].tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_bad_inputs(make, call, message):
    env = make()
    env.reset()
    with pytest.raises(ValueError, match=message):
        call(env)
    env.step(actions())


def test_close_leaves_nothing_behind(make):
    descriptors = set(os.listdir("/proc/self/fd"))
    env = make()
    env.reset()
    pid = env._pool.processes[0].pid
    env.close()
    env.close()
    end = time.monotonic() + 5
    while set(os.listdir("/proc/self/fd")) - descriptors and time.monotonic() < end:
        time.sleep(0.05)
    left = {
        os.readlink(f"/proc/self/fd/{n}")
        for n in set(os.listdir("/proc/self/fd")) - descriptors
        if os.path.lexists(f"/proc/self/fd/{n}")
    }
    assert not [name for name in left if "memfd" in name or "socket" in name or "sidecar" in name]
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(RuntimeError, match="closed"):
        env.reset()


def test_without_a_gpu_the_error_says_so():
    if jax.local_devices()[0].platform == "gpu":
        pytest.skip("there is one")
    with pytest.raises(RuntimeError, match="needs a GPU that JAX sees"):
        ManiSkillGPUVectorEnv("PickCube-v1", 1, [0])


def test_the_setting_has_its_place():
    config = EnvConfig(name="maniskill:PickCube-v1", simulator="gpu")
    registry.check_env(config)
    with pytest.raises(ConfigError, match=r"env.simulator cannot work with .*tabletop:.*only maniskill"):
        EnvConfig(name="tabletop:PickCube-v1", simulator="gpu")
    for change, message in (({"simulator": "tpu"}, "env.simulator"), ({"processes": 2}, "env.processes=2.*None where")):
        with pytest.raises(ConfigError, match=message):
            Config(env=dataclasses.replace(config, **change)).validate()


@pytest.mark.vulkan
@pytest.mark.parametrize("reward", ["v3", pytest.param("normalized_dense", marks=pytest.mark.slow)])
def test_one_environment_gives_the_episodes_of_the_pool(reward):
    """The worker's own code around ManiSkill, on the CPU, where PhysX is deterministic: to the last bit."""
    options = {"reward_mode": reward, "image_size": 64, "max_episode_steps": 12}
    with (
        ManiSkillVectorEnv("PickCube-v1", 1, [3], processes=1, **options) as pool,
        ManiSkillGPUVectorEnv("PickCube-v1", 1, [3], device="cpu", **options) as batched,
    ):
        assert batched.spec == pool.spec
        rng = np.random.default_rng(0)
        np.testing.assert_array_equal(batched.reset()["state"], pool.reset()["state"])
        for step in range(30):  # two resets
            action = rng.uniform(-1, 1, (1, 7)).astype(np.float32)
            ours, theirs = batched.step(action), pool.step(action)
            for name in ("observation", "final_observation", "terminated", "truncated", "success"):
                jax.tree.map(np.testing.assert_array_equal, getattr(ours, name), getattr(theirs, name))
            # v3 is computed in float32 here, from the same state
            tolerance = 0 if reward == "normalized_dense" else 1e-6
            np.testing.assert_allclose(ours.reward, theirs.reward, rtol=tolerance)
            assert np.asarray(ours.truncated).item() == (step % 12 == 11)
        if reward == "normalized_dense":
            frames = [np.asarray(env.frames([0])) for env in (batched, pool)]
            np.testing.assert_array_equal(*frames)


@pytest.mark.gpu
@pytest.mark.vulkan
@pytest.mark.parametrize("observations", [("state",), ("state", "rgb")])
def test_64_environments_on_a_gpu(observations):
    pytest.importorskip("mani_skill")
    options = {"observations": observations, "image_size": 64, "max_episode_steps": 5}
    with ManiSkillGPUVectorEnv("PickCube-v1", 64, list(range(64)), device="cuda:0", **options) as env:
        first = env.reset()
        assert first["state"].devices().pop().platform == "gpu"
        assert len(np.unique(np.asarray(first["state"]), axis=0)) == 64
        rng = np.random.default_rng(0)
        for step in range(12):
            result = env.step(jax.numpy.asarray(rng.uniform(-1, 1, (64, 7)), jax.numpy.float32))
            assert np.isfinite(np.asarray(result.observation["state"])).all()
            assert ((np.asarray(result.reward) >= 0) & (np.asarray(result.reward) <= 1)).all()
            ended = np.asarray(result.terminated | result.truncated)
            same = (np.asarray(result.observation["state"]) == np.asarray(result.final_observation["state"])).all(
                axis=1
            )
            assert not same[ended].any()
            assert same[~ended].all()
            if step == 4:
                assert np.asarray(result.truncated).any()
        assert env.frames([63, 0]).std() > 5
        os.kill(env._pool.processes[0].pid, signal.SIGKILL)
        assert np.asarray(env.step(np.zeros((64, 7))).truncated).all()
