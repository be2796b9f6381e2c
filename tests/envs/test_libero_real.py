"""The real LIBERO: as its own loop, whoever shares the process; needs `make libero-env`."""

import json
import os
import subprocess

import numpy as np
import pytest

from rpd_jax.config import EnvConfig
from rpd_jax.envs.libero.suite import found
from rpd_jax.envs.registry import make_env

pytestmark = [pytest.mark.slow, pytest.mark.skipif(found() is None, reason="needs `make libero-env`")]

TASK, STATE, STEPS = "libero:Spatial/5", 3, 12

OFFICIAL = """
import json, os, sys
import numpy as np
from libero.libero import benchmark, get_libero_path
from libero.libero.envs import OffScreenRenderEnv
tasks = benchmark.get_benchmark("libero_spatial")()
task = tasks.get_task(5)
path = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
env = OffScreenRenderEnv(bddl_file_name=path, camera_heights=64, camera_widths=64)
env.seed(0)
env.reset()
env.set_init_state(tasks.get_task_init_states(5)[3])
for _ in range(10):
    observation = env.step([0.0] * 6 + [-1.0])[0]
rows, frames = [], []
for action in json.loads(sys.argv[1]):
    data, robot = env.sim.data, env.robots[0]  # what sensors say is a substep, two milliseconds, older
    bowl = data.body_xpos[env.env.obj_body_id["akita_black_bowl_1"]]
    fingers = data.qpos[robot._ref_gripper_joint_pos_indexes]
    rows.append(np.concatenate([data.site_xpos[robot.eef_site_id], fingers, bowl]).tolist())
    frames.append(observation["agentview_image"][::-1, ::-1].tolist())
    observation = env.step(action)[0]
print("ROWS" + json.dumps([rows, frames[0]]))
"""


def actions():
    return np.random.default_rng(0).uniform(-0.5, 0.5, (STEPS, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def official():
    command = [found(), "-c", OFFICIAL, json.dumps(actions().tolist())]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MUJOCO_GL": "egl"}, check=True)
    rows, frame = json.loads(done.stdout.partition("ROWS")[2])
    return np.array(rows), np.array(frame)


def test_one_of_three_rows_is_as_liberos_own_loop(official):
    rows, frame = official
    config = EnvConfig(name=TASK, initial_states=(9, STATE, 20), processes=1, image_size=64)
    env = make_env(config, [0, 1, 2], rgb=False, end_on_success=True)
    try:
        layout = env.spec.layout["state"]
        others = np.random.default_rng(1)
        observation = env.reset()
        drawn = env.frames([1])[0].astype(int)
        for row, action in zip(rows, actions(), strict=True):
            state = observation["state"][1]
            names = ("eef_pos", "gripper_qpos", "akita_black_bowl_1")
            ours = np.concatenate([state[slice(*layout[name])][:3] for name in names])
            np.testing.assert_allclose(ours, row, atol=2e-6)
            everyone = others.uniform(-1, 1, (3, 7))
            everyone[1] = action
            observation = env.step(everyone).observation
    finally:
        env.close()
    assert np.mean(np.abs(drawn - frame)) < 1.0  # a substep of two milliseconds apart


def test_success_of_the_bowl_resting_on_the_ramekin():
    """From MuJoCo 3.4 on it slides off."""
    env = make_env(EnvConfig(name=TASK, processes=1), [0], rgb=False, end_on_success=True)
    try:
        before = env.reset()["state"][0]
        still = np.array([[0.0] * 6 + [-1.0]])
        for _ in range(20):
            after = env.step(still).observation["state"][0]
        target = slice(*env.spec.layout["state"]["target_pose"])
        assert np.abs(after[target] - before[target])[:3].max() < 0.005
    finally:
        env.close()
