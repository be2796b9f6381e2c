"""ManiSkill's pictures from other places, and its tasks in other words."""

import dataclasses

import numpy as np
import pytest

from rpd_jax.config import EnvConfig
from rpd_jax.envs import registry
from rpd_jax.envs.base import Camera
from rpd_jax.envs.maniskill.settings import Settings, env_spec
from rpd_jax.envs.tabletop.tasks import load

BASE = EnvConfig(name="maniskill:PushCube-v1", image_size=64, processes=1)
MADE = {
    "state": [["agent/qpos", 9], ["agent/qvel", 9], ["extra/tcp_pose", 7]],
    "action_low": [-1.0] * 7,
    "action_high": [1.0] * 7,
    "robot": "panda",
    "max_episode_steps": 50,
}


def picture(**settings):
    env = registry.make_env(dataclasses.replace(BASE, **settings), [3], rgb=True, end_on_success=False)
    try:
        seen = env.reset()["rgb"][0]
        np.testing.assert_array_equal(env.frames([0])[0], seen)
        return seen.astype(int)
    finally:
        env.close()


@pytest.mark.vulkan
@pytest.mark.slow  # starts five renderers
def test_the_camera_goes_where_it_is_told():
    own = picture()
    # both suites have the same camera: to name it changes nothing
    camera = load("PushCube-v1").scene.camera
    named = picture(camera_eye=camera.eye, camera_target=camera.target, camera_fov=camera.fov)
    assert np.abs(named - own).mean() < 0.5  # grey values
    shifted = picture(camera_shift=(0.0, -0.3, 0.1))
    moved = picture(camera_eye=(camera.eye[0], camera.eye[1] - 0.3, camera.eye[2] + 0.1))
    np.testing.assert_allclose(shifted, moved, atol=2)
    assert np.abs(shifted - own).mean() > 5
    assert np.abs(picture(camera_fov=0.5) - own).mean() > 5


@pytest.mark.vulkan
@pytest.mark.slow
@pytest.mark.parametrize("task", ["PickCube-v1", "RollBall-v1", "PokeCube-v1", "PegInsertionSide-v1", "StackCube-v1"])
def test_cameras_of_other_tasks_are_known_too(task):
    camera = load(task).scene.camera
    name = f"maniskill:{task}"
    named = picture(name=name, camera_eye=camera.eye, camera_target=camera.target, camera_fov=camera.fov)
    assert np.abs(named - picture(name=name)).mean() < 0.5


def settings(**changes):
    return Settings("PushCube-v1", 1, [0], "pd_ee_delta_pose", "sparse", ("state",), 64, None, True, 1, 60.0, **changes)


def test_what_the_worker_is_asked_for():
    assert settings().request(slice(0, 1))["camera"] is None
    asked = settings(camera=Camera(eye=(1.0, 0.0, 1.0), fov=0.5)).request(slice(0, 1))["camera"]
    assert asked == {"eye": (1.0, 0.0, 1.0), "target": (0.0, 0.0, 0.35), "fov": 0.5}


def test_instructions_are_the_tasks_own_unless_given():
    assert env_spec(settings(), MADE).instruction == "push the cube away from the robot base"
    assert env_spec(settings(instruction="shove the block forward"), MADE).instruction == "shove the block forward"
    for words, expected in (("", "pick up the cube"), ("lift the red block", "lift the red block")):
        config = EnvConfig(name="tabletop:PickCube-v1", instruction=words, physics="c")
        env = registry.make_functional(config, rgb=False, end_on_success=True)
        assert env.spec.instruction == expected
