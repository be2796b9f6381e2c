"""The real Meta-World: as its own loop, whatever was before in the process; needs `make metaworld-env`."""

import json
import subprocess

import numpy as np
import pytest

from rpd_jax.config import EnvConfig
from rpd_jax.envs.base import episode_seed
from rpd_jax.envs.metaworld import tasks
from rpd_jax.envs.registry import make_env

found = tasks.VENV.found
pytestmark = [pytest.mark.slow, pytest.mark.skipif(found() is None, reason="needs `make metaworld-env`")]

TASK, STEPS = "pick-place-v3", 60

OFFICIAL = """
import json, sys
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
from metaworld.policies import ENV_POLICY_MAP
name, seed, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
env, policy = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[name + "-goal-observable"](seed=0), ENV_POLICY_MAP[name]()
env._freeze_rand_vec, env.seeded_rand_vec = False, True
env.seed(seed)
observation, _ = env.reset()
rows = []
for _ in range(steps):
    action = np.clip(policy.get_action(observation), -1, 1)
    after, reward, _, _, info = env.step(action)
    rows.append([*observation.tolist(), *action.tolist(), float(reward), float(info["success"])])
    observation = after
print("ROWS" + json.dumps([sorted(ALL_V3_ENVIRONMENTS), rows]))
"""


def make(name, seeds, **settings):
    return make_env(EnvConfig(name=f"metaworld:{name}", **settings), seeds, rgb=False, end_on_success=False)


@pytest.mark.parametrize("drawn", [False, True])
def test_an_episode_is_as_in_metaworlds_own_loop(drawn):
    command = [found(), "-W", "ignore", "-c", OFFICIAL, TASK, str(episode_seed(7, 1)), str(STEPS)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names, rows = json.loads(output.partition("ROWS")[2])
    assert names == sorted(tasks.TASKS)
    env = make(TASK, [3, 7], processes=1, reward="dense", image_size=36)
    try:
        env.reset()
        for action in np.random.default_rng(0).uniform(-1, 1, (20, 2, 4)):  # an earlier episode, not the script's
            env.step(action)
        observation = env.reset()
        for row in np.array(rows, np.float32):
            ours = np.concatenate([observation["state"][1], observation["expert"][1]])
            np.testing.assert_array_equal(ours, row[:43])
            if drawn:
                env.frames([0, 1])
            result = env.step(observation["expert"])
            assert result.reward[1] == row[43] and result.success[1] == row[44]
            observation = result.observation
        assert result.success.all()
    finally:
        env.close()


def test_both_cameras_see_the_state_and_not_what_was_before():
    env, fresh = (make("push-v3", [5], image_size=64, processes=1) for _ in range(2))
    try:
        env.reset()
        env.step(np.ones((1, 4)))
        env.frames([0])
        fresh.load_state_dict(env.state_dict())
        env.reset(), fresh.reset()
        for camera in ("rgb", "rgb_wrist"):
            frames = env.frames([0], camera)
            np.testing.assert_array_equal(frames, fresh.frames([0], camera))
            assert frames.std() > 10
    finally:
        env.close()
        fresh.close()


def test_several_tasks_are_labelled_each_by_its_script():
    env = make("reach-v3,drawer-open-v3", [1, 2], processes=1)
    try:
        observation, succeeded = env.reset(), np.zeros(2, bool)
        for _ in range(120):
            result = env.step(observation["expert"])
            observation, succeeded = result.observation, succeeded | result.success
        assert succeeded.all()
    finally:
        env.close()
