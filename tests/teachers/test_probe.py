"""The start-up probe on an arm without physics. On ManiSkill: test_teachers_on_maniskill.py."""

import dataclasses

import numpy as np
import pytest
from kinematic_arm import SHARE, KinematicArm

from teachers.probe import probe_actions


def arm(contract=None, **how):
    env = KinematicArm(**how)
    if contract:
        env.spec = dataclasses.replace(env.spec, contract=dataclasses.replace(env.spec.contract, **contract))
    return env


def test_measures_what_the_arm_does():
    report = probe_actions(arm())
    # two steps of 0.1 m or 0.1 rad each, of which the arm goes a share
    np.testing.assert_allclose(report.commanded, 0.2)
    np.testing.assert_allclose(report.displacement, 0.2 * SHARE * np.eye(6), atol=1e-4)
    assert report.width_closed == pytest.approx(0.0, abs=1e-6)
    assert report.width_open == pytest.approx(0.08, abs=1e-6)


@pytest.mark.parametrize(
    ("contract", "how", "message"),
    [
        ({"rotation_sign": 1}, {}, r"axis rotation x moves backwards: .*\(-0.080, .*rotation_sign"),
        ({"gripper_closed": 1.0, "gripper_open": -1.0}, {}, r"gripper: .* 0.080 m apart after closing"),
        ({"translation_scale": 10.0}, {}, r"axis x does not move: 20 m were commanded, \(0.080"),
        ({"translation_scale": 0.01}, {}, r"axis x moves too far: 0.02 m"),
        ({"rotation_scale": 0.01}, {}, r"axis rotation x moves too far"),
        ({}, {"order": [1, 0, 2, 3, 4, 5]}, r"axis x moves along another axis: .*\(0.000, 0.080, 0.000\)"),
        ({}, {"order": [0, 1, 2, 3, 5, 4]}, r"axis rotation y moves along another axis"),
        ({}, {"dead": [2]}, r"axis z does not move"),
        ({}, {"base_yaw": np.pi / 2}, r"axis x moves along another axis"),
        ({}, {"base_yaw": np.pi}, r"axis x moves backwards: .*direction of the frame"),
        ({"frame": "tool"}, {}, r"frame='tool'"),
    ],
)
def test_a_contradiction_is_named(contract, how, message):
    with pytest.raises(ValueError, match=message):
        probe_actions(arm(contract, **how))


def test_a_turned_base_is_taken_into_account():
    report = probe_actions(arm(base_yaw=0.7), base_yaw=0.7)
    np.testing.assert_allclose(report.displacement, 0.2 * SHARE * np.eye(6), atol=1e-4)


def test_an_environment_that_cannot_be_probed_is_refused():
    env = arm()
    env.spec = dataclasses.replace(env.spec, contract=None)
    with pytest.raises(ValueError, match="contract is None"):
        probe_actions(env)
    env.spec = dataclasses.replace(arm().spec, layout={"state": {"qpos": (0, 9)}})
    with pytest.raises(ValueError, match="names no 'tcp_pose'"):
        probe_actions(env)


def test_ended_episodes_are_left_out():
    env = arm()
    env.spec = dataclasses.replace(env.spec, max_episode_steps=10)
    with pytest.raises(ValueError, match=r"every environment .* ended its episode"):
        probe_actions(env)
