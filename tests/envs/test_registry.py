"""Environments by name: what is made, what is refused, and what can be known without starting anything."""

import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs import registry
from rpd_jax.envs.base import Camera, EnvSpec, film_frames
from rpd_jax.envs.toy.reach import TOY_CONTRACT

TABLETOP = EnvConfig(name="tabletop:PickCube-v1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tabletopp:PickCube-v1"}, "did you mean 'tabletop'"),
        ({"name": "tabletop:PickCub-v1"}, "did you mean 'PickCube-v1'"),
        ({"name": "tabletop:PickCube-v1", "control_mode": "pd_joint_pos"}, "env.control_mode cannot .*only maniskill"),
        ({"name": "tabletop:PickCube-v1", "reward": "dens"}, "did you mean 'dense'"),
        ({"name": "maniskill:PickCube-v1", "physics": "c"}, "env.physics cannot .*'maniskill:.*only tabletop"),
        ({"name": "toy:Reach-v0", "camera_fov": 0.5}, "env.camera_fov cannot .*'toy:.*only tabletop, maniskill"),
        ({"name": "toy:Reach-v0", "horizon_scale": 10}, "env.horizon_scale cannot"),
        (
            {"name": "maniskill:PlaceSphere-v1", "observation": "ee"},
            "'ee' cannot work in PlaceSphere-v1",
        ),
        ({"name": "maniskill:PlaceSphere-v1", "reward": "v2"}, "env.reward='v2' cannot work in PlaceSphere-v1"),
        (
            {"name": "maniskill:PlaceSphere-v1", "camera_shift": (0.1, 0.0, 0.0)},
            r"env.camera_shift=\(0.1, 0.0, 0.0\) cannot work: .*set all of env.camera_eye",
        ),
        ({"name": "own:Reach-v0"}, "pass it as env=, or give it a name by register_suite"),
        ({"name": "toy:Reach-v0", "observation": "ee"}, "toy tasks have state only"),
        ({"name": "toy:Reach-v0", "reward": "v2"}, "env.reward='v2' cannot work in Reach-v0: it can in PickCube-v1, "),
        (
            {"name": "tabletop:StackCube-v1", "reward": "v3"},
            "env.reward='v3' cannot work in StackCube-v1: .*PushCube-v1",
        ),
        ({"name": "maniskill:RollBall-v1", "reward": "v2"}, "env.reward='v2' cannot work in RollBall-v1"),
        (
            {"name": "maniskill:PickCube-v1", "control_mode": "pd_joint_pos", "horizon_scale": 2},
            "env.horizon_scale=2 cannot work with env.control_mode='pd_joint_pos'",
        ),
    ],
)
def test_what_cannot_work_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        registry.check_env(EnvConfig(**settings))


def test_in_another_suite_the_settings_that_both_have_are_kept():
    shared = {"camera_eye": (1.0, 0.0, 1.0), "camera_fov": 0.7, "horizon_scale": 3}
    config = dataclasses.replace(TABLETOP, image_size=64, physics="c", instruction="lift the cube", **shared)
    config.name = "maniskill:PickCube-v1"
    assert config == EnvConfig(name=config.name, image_size=64, instruction="lift the cube", **shared)
    registry.check_env(config)
    config.name = "toy:Reach-v0"
    assert config == EnvConfig(name="toy:Reach-v0", image_size=64, instruction="lift the cube")
    registry.check_env(config)
    assert copy.deepcopy(config) == config


def test_contracts_are_known_without_starting_anything():
    def contract(**settings):
        return registry.task_info(EnvConfig(**settings)).contract

    ours, theirs = contract(), contract(name="maniskill:PickCube-v1")
    assert (ours.rotation_sign, theirs.rotation_sign) == (1, -1)
    assert dataclasses.replace(ours, rotation_sign=-1) == theirs
    assert contract(name="maniskill:PickCube-v1", control_mode="pd_joint_pos") is None
    for name in (TABLETOP.name, "maniskill:PickCube-v1"):
        # 0.1 m and 0.1 rad over ten steps
        tenth = dataclasses.replace(contract(name=name), translation_scale=0.01, rotation_scale=0.01)
        info = registry.task_info(EnvConfig(name=name, horizon_scale=10))
        assert info.contract == tenth and info.undivided_contract == contract(name=name)
        assert info.max_episode_steps == 500
    assert contract(name="toy:Reach-v0") == TOY_CONTRACT
    assert contract(name="toy:ConstantReward-v0") is None
    with pytest.raises(ConfigError, match="did you mean"):
        contract(name="tabletop:PickCub-v1")


def test_checking_and_contracts_need_no_physics():
    program = (
        "import sys\nfrom rpd_jax.config import EnvConfig\nfrom rpd_jax.envs import registry\n"
        "for suite in ('tabletop', 'maniskill'):\n"
        "    registry.task_info(EnvConfig(name=f'{suite}:PickCube-v1', observation='ee'))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert not {"mujoco", "mani_skill", "torch"} & set(done.stdout.split())


def test_suites_written_in_jax_can_be_had_as_functions():
    config = dataclasses.replace(TABLETOP, max_episode_steps=7, image_size=40, reward="sparse", physics="c")
    env = registry.make_functional(config, rgb=True, end_on_success=True)
    assert env.spec.name == "tabletop:PickCube-v1" and env.spec.max_episode_steps == 7
    assert env.spec.observation["rgb"].shape == env.spec.frame_shape == (40, 40, 3)
    assert set(env.spec.observation) == {"state", "proprio", "ee", "rgb"}
    plain = registry.make_functional(TABLETOP, rgb=False, end_on_success=True)
    assert "rgb" not in plain.spec.observation and plain.spec.max_episode_steps == 50
    toy = registry.make_functional(EnvConfig(name="toy:Reach-v0"), rgb=False, end_on_success=True)
    assert toy.spec.name == "toy:Reach-v0"
    maniskill = EnvConfig(name="maniskill:PickCube-v1")
    assert registry.make_functional(maniskill, rgb=False, end_on_success=True) is None


def test_the_camera_is_the_tasks_own_but_for_what_is_given():
    own = Camera()
    assert TABLETOP.placed(own) == own
    moved = EnvConfig(camera_eye=(1.0, 0.0, 2.0)).placed(own)
    assert moved == dataclasses.replace(own, eye=(1.0, 0.0, 2.0))
    turned = EnvConfig(camera_target=(0.0, 0.1, 0.0), camera_fov=0.5).placed(own)
    assert turned == dataclasses.replace(own, target=(0.0, 0.1, 0.0), fov=0.5)
    shifted = EnvConfig(camera_shift=(0.1, -0.2, 0.0)).placed(own)
    np.testing.assert_allclose(shifted.eye, (0.7, 0.5, 0.6))  # from (0.6, 0.7, 0.6)
    assert dataclasses.replace(shifted, eye=own.eye) == own
    both = EnvConfig(camera_eye=(1.0, 0.0, 2.0), camera_shift=(0.0, 0.0, -0.5))
    np.testing.assert_allclose(both.placed(own).eye, (1.0, 0.0, 1.5))
    # one that is not known can be given in full
    assert TABLETOP.placed(None) is None
    full = EnvConfig(camera_eye=(1.0, 0.0, 2.0), camera_target=(0.1, 0.0, 0.0), camera_fov=0.5)
    assert full.placed(None) == Camera((1.0, 0.0, 2.0), (0.1, 0.0, 0.0), 0.5)


@pytest.mark.parametrize("change", [{}, {"camera_eye": (1.0, 0.0, 2.0)}])
def test_an_environment_says_where_its_camera_is(monkeypatch, change):
    """A simulator is told of a camera only where it is another than its own."""

    class Made:
        spec = EnvSpec("maniskill:RollBall-v1", "", 1, 7, (), (), {}, {})

        def __init__(self, *unused, camera, **settings):
            self.camera = camera

    monkeypatch.setattr("rpd_jax.envs.maniskill.pool.ManiSkillVectorEnv", Made)
    roll = Camera(
        **({"eye": (-0.6, 1.3, 0.8)} | ({"eye": change["camera_eye"]} if change else {})), target=(0, 0.13, 0)
    )
    for suite in ("maniskill", "tabletop"):
        config = EnvConfig(name=f"{suite}:RollBall-v1", image_size=36, **change)
        env = registry.make_env(config, [1], rgb=False, end_on_success=False)
        assert env.spec.camera == roll
        assert suite == "tabletop" or env.camera == (roll if change else None)


def test_films_of_tabletop_are_for_people_and_observations_stay_as_they_were():
    """By default nearer than ManiSkill's camera; where the camera is set, or a student sees it, by that one."""
    drawn = {}
    for name, rgb, change in (("state", False, {}), ("rgb", True, {}), ("set", False, {"camera_fov": 1.0})):
        config = dataclasses.replace(TABLETOP, image_size=256, **change)
        env = registry.make_env(config, [1], rgb=rgb, end_on_success=False)
        observation = env.reset()
        drawn[name] = np.asarray(env.frames([0])), np.asarray(film_frames(env, [0]))
        assert env.spec.camera == Camera()
        if rgb:
            np.testing.assert_array_equal(observation["rgb"], drawn[name][1])
    own, film = drawn["state"]
    np.testing.assert_array_equal(own, drawn["rgb"][0])
    np.testing.assert_array_equal(own, drawn["set"][1])
    assert film.shape == (1, 256, 256, 3) and (film != own).any(axis=-1).mean() > 0.2


def test_a_tabletop_task_steps_and_is_drawn_on_the_host():
    config = dataclasses.replace(TABLETOP, max_episode_steps=2, image_size=36)
    env = registry.make_env(config, [1, 2], rgb=False, end_on_success=False)
    first = env.reset()
    assert set(first) == {"state", "proprio", "ee"} and first["ee"].shape == (2, 28)
    up = np.zeros((2, 7))
    up[0, 2] = 1.0
    result = env.step(up)
    # 0.1 m were commanded; the hand lags behind, and the other one stays
    rise = np.asarray(result.final_observation["ee"])[:, 2] - np.asarray(first["ee"])[:, 2]
    assert 0.01 < rise[0] < 0.11 and abs(rise[1]) < 0.005
    frames = env.frames([1])
    assert frames.shape == (1, 36, 36, 3) and frames.dtype == np.uint8
    assert np.asarray(env.step(up).truncated).all()
    assert env.spec.frame_shape == (36, 36, 3)
