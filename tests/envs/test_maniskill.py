"""ManiSkill itself behind the vector environment, compared with plain environments."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rpd_jax.envs.base import episode_seed
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv
from rpd_jax.envs.maniskill.tasks import TASKS

pytestmark = pytest.mark.vulkan

HERE = Path(__file__).parent
STEPS = 60


def push(state, layout):
    """Actions that push the cube into its goal, for each row of PushCube states."""

    def part(name):
        return state[:, slice(*layout[name])]

    tool, cube, goal = part("tcp_pose")[:, :3], part("obj_pose")[:, :3], part("goal_pos")
    behind = cube - np.array([0.1, 0.0, 0.0])
    aligned = np.abs(tool - behind)[:, 1:].max(axis=1) < 0.01
    target = np.where(aligned[:, None], [*[1, 0, 0]] * (goal - tool) + behind * [0, 1, 1] + tool * [1, 0, 0], behind)
    high = (np.abs(tool - behind)[:, 1] > 0.01) | (tool[:, 0] > behind[:, 0] + 0.03) & ~aligned
    target[:, 2] = np.where(high, 0.2, target[:, 2])
    actions = np.zeros((len(state), 7), np.float32)
    actions[:, :3] = np.clip((target - tool) / 0.1, -1, 1)
    actions[:, 6] = -1.0
    return actions


def rollout(env, controller):
    observation = env.reset()
    first, steps = observation, []
    for t in range(STEPS):
        action = controller(t, observation)
        result = env.step(action)
        steps.append((action, result))
        observation = result.observation
    return first, steps


def controller(env):
    """Pushes with environments 0 and 1, flails with 2."""
    rng = np.random.default_rng(0)

    def act(t, observation):
        actions = push(observation["state"], env.spec.layout["state"])
        actions[2] = rng.uniform(-1, 1, 7)
        return actions

    return act


@pytest.fixture(scope="module")
def env():
    with ManiSkillVectorEnv("PushCube-v1", 3, [5, 6, 7], processes=2, image_size=64) as env:
        yield env


@pytest.fixture(scope="module")
def rolled(env):
    return rollout(env, controller(env))


def test_an_episode_is_the_one_that_a_plain_environment_gives(env, rolled, tmp_path):
    first, steps = rolled
    actions = np.stack([action for action, _ in steps])
    plain = play_plainly("PushCube-v1", "pd_ee_delta_pose", [5, 6, 7], actions, tmp_path)
    np.testing.assert_array_equal(first["state"], plain["first"])
    compare(steps, plain)
    assert plain["success"][:, :2].any(axis=0).all()  # otherwise this compares less than it should
    assert plain["truncated"][:, 2].sum() == 1


def play_plainly(task, mode, seeds, actions, folder):
    """What plain environments give; see maniskill_reference.py."""
    seeds = [[episode_seed(seed, k) for k in range(8)] for seed in seeds]
    np.savez(folder / "in.npz", task=task, mode=mode, seeds=seeds, actions=actions)
    command = [sys.executable, HERE / "maniskill_reference.py", folder / "in.npz", folder / "out.npz"]
    subprocess.run(command, check=True, capture_output=True)
    return np.load(folder / "out.npz")


def compare(steps, plain):
    """To the last bit."""
    got = {name: np.stack([getattr(result, name) for _, result in steps]) for name in ("reward", "terminated")}
    got["truncated"] = np.stack([result.truncated for _, result in steps])
    got["success"] = np.stack([result.success for _, result in steps])
    got["state"] = np.stack([result.observation["state"] for _, result in steps])
    got["final_state"] = np.stack([result.final_observation["state"] for _, result in steps])
    for name, values in got.items():
        np.testing.assert_array_equal(values, plain[name].astype(values.dtype), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "mode"),
    [*((task, "pd_ee_delta_pose") for task in TASKS)]
    + [("StackCube-v1", mode) for mode in ("pd_ee_delta_pos", "pd_ee_target_delta_pose", "pd_joint_pos")],
)
def test_random_episodes_are_those_of_plain_environments(task, mode, tmp_path):
    with ManiSkillVectorEnv(task, 1, [3], control_mode=mode) as env:
        low, high = env.spec.action_low, env.spec.action_high
        actions = np.random.default_rng(0).uniform(low, high, (120, 1, len(low))).astype(np.float32)
        env.reset()
        steps = [(action, env.step(action)) for action in actions]
    compare(steps, play_plainly(task, mode, [3], actions, tmp_path))


def test_success_ends_training_episodes(rolled):
    _, steps = rolled
    for _, result in steps:
        np.testing.assert_array_equal(result.terminated, result.success)
        ended = result.terminated | result.truncated
        same = (result.observation["state"] == result.final_observation["state"]).all(axis=1)
        np.testing.assert_array_equal(same, ~ended)


def test_proprio_is_what_the_robot_knows_of_the_state(env, rolled):
    _, steps = rolled
    for observation in (steps[0][1].observation, steps[-1][1].final_observation):
        for name, where in env.spec.layout["proprio"].items():
            expected = observation["state"][:, slice(*env.spec.layout["state"][name])]
            np.testing.assert_array_equal(observation["proprio"][:, slice(*where)], expected)


def test_spec(env):
    spec = env.spec
    assert (spec.suite, spec.task, spec.max_episode_steps) == ("maniskill", "PushCube-v1", 50)
    assert spec.action_low == (-1.0,) * 7
    assert spec.action_high == (1.0,) * 7
    assert dict(spec.layout["state"]) == {
        "qpos": (0, 9),
        "qvel": (9, 18),
        "tcp_pose": (18, 25),
        "goal_pos": (25, 28),
        "obj_pose": (28, 35),
    }


def test_an_evaluation_episode_goes_on_after_success():
    with ManiSkillVectorEnv("PushCube-v1", 3, [5, 6, 7], processes=1, end_on_success=False) as env:
        _, steps = rollout(env, controller(env))
    success = np.stack([result.success for _, result in steps])
    assert success[:49].any(axis=0)[:2].all()
    assert not any(result.terminated.any() for _, result in steps)
    assert [t for t, (_, result) in enumerate(steps) if result.truncated.any()] == [49]
    assert steps[49][1].truncated.all()


def test_actions_move_the_tool_as_the_contract_says(env):
    """Small moves along and turns about each axis of the base; the arm lags behind what it is told."""
    spec = env.spec

    def pose(observation):
        return observation["state"][:, slice(*spec.layout["state"]["tcp_pose"])].astype(float)

    for part, axis in [(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2)]:
        before = pose(env.reset())
        action = np.zeros((3, 7))
        action[:, part + axis] = 0.5
        for _ in range(3):
            result = env.step(action)
        after = pose(result.observation)
        if part == 0:
            moved, told = after[:, :3] - before[:, :3], 3 * 0.5 * spec.contract.translation_scale
        else:
            moved = [turn(q0, q1) for q0, q1 in zip(before[:, 3:], after[:, 3:], strict=True)]
            told = 3 * 0.5 * spec.contract.rotation_scale * spec.contract.rotation_sign
        for vector in np.asarray(moved) / told:
            assert 0.2 < vector[axis] < 1.1
            assert np.abs(np.delete(vector, axis)).max() < 0.1


def turn(q0, q1):
    """The rotation vector, in axes of the base, from orientation q0 to q1 (w, x, y, z)."""
    w0, v0, w1, v1 = q0[0], -q0[1:], q1[0], q1[1:]
    w = w1 * w0 - v1 @ v0
    v = w1 * v0 + w0 * v1 + np.cross(v1, v0)
    return 2 * v * np.sign(w)


def test_frames_on_demand(env):
    env.reset()
    frames = env.frames([2, 1])
    assert frames.shape == (2, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert (frames.reshape(2, -1).std(axis=1) > 5).all()
    assert (frames[0] != frames[1]).any()
    np.testing.assert_array_equal(env.frames([1]), frames[1:])
    assert not env._arrays["rgb"][0].any()


@pytest.mark.slow  # starts a renderer of its own; test_maniskill_worker.py has the same with toy pictures
def test_rgb_of_the_last_state_is_drawn_before_the_reset():
    options = {"observations": ("state", "rgb"), "image_size": 64, "max_episode_steps": 2, "processes": 1}
    with ManiSkillVectorEnv("PickCube-v1", 1, [3], **options) as env:
        first = env.reset()["rgb"]
        action = np.full((1, 7), 0.5)
        second = env.step(action)
        np.testing.assert_array_equal(second.observation["rgb"], second.final_observation["rgb"])
        third = env.step(action)
        np.testing.assert_array_equal(env.frames([0]), third.observation["rgb"])
        pictures = [
            first,
            second.observation["rgb"],
            third.final_observation["rgb"],
            third.observation["rgb"],
        ]
        different = [(a != b).any(axis=-1).sum() for i, a in enumerate(pictures) for b in pictures[:i]]
        assert min(different) > 20  # pixels
        assert third.truncated.all()


def test_a_run_survives_a_killed_worker(env):
    env.reset()
    before = env.step(np.zeros((3, 7))).observation
    restarts = env.metrics()["env/worker_restarts"]
    env._pool.processes[1]._process.kill()
    result = env.step(np.zeros((3, 7)))
    assert result.truncated.tolist() == [False, True, True]
    np.testing.assert_array_equal(result.final_observation["state"][1:], before["state"][1:])
    assert env.metrics()["env/worker_restarts"] == restarts + 1
    episode = env.state_dict()["episode"]
    state = env.step(np.zeros((3, 7))).observation["state"]
    env.load_state_dict({"episode": episode - 1})  # the same episodes, in a worker that never crashed
    env.reset()
    again = env.step(np.zeros((3, 7))).observation["state"]
    np.testing.assert_array_equal(state[1:], again[1:])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task(task):
    with ManiSkillVectorEnv(task, 1, [0], processes=1, image_size=64) as env:
        observation = env.reset()
        assert observation["state"].shape == (1, *env.spec.observation["state"].shape)
        assert observation["proprio"].shape == (1, 25)
        result = env.step(np.zeros((1, 7)))
        assert np.isfinite(result.observation["state"]).all()
        assert 0.0 <= result.reward[0] <= 1.0
        assert env.frames([0]).std() > 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pd_joint_delta_pos", "pd_joint_pos", "pd_ee_target_delta_pose", "pd_joint_vel"])
@pytest.mark.parametrize("task", ["PickCube-v1", "StackCube-v1"])
def test_other_control_modes(task, mode):
    with ManiSkillVectorEnv(task, 1, [0], control_mode=mode) as env:
        observation = env.reset()
        assert observation["proprio"].shape == (1, 25)
        assert env.spec.contract is None
        assert np.isfinite([*env.spec.action_low, *env.spec.action_high]).all()
        middle = (np.array(env.spec.action_low) + env.spec.action_high) / 2
        assert np.isfinite(env.step(middle[None]).observation["state"]).all()
