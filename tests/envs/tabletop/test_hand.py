"""The hand's kinematics and what an action commands."""

import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.actions import rotations
from rpd_jax.envs.tabletop import hand

REST = jnp.array([0.1, -0.2, 0.15, 0.0, 0.0, 0.0, 0.04, 0.04])
STILL = jnp.array([0.0, 0, 0, 0, 0, 0, 1.0])


def with_entry(values, index, value):
    return jnp.asarray(values).at[index].set(value)


def test_at_rest_the_hand_points_down():
    pose = hand.tcp_pose(REST)
    np.testing.assert_allclose(pose, [0.1, -0.2, 0.15, 0, 1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(rotations.quaternion_apply(pose[3:], jnp.array([0.0, 0.0, 1.0])), [0, 0, -1], atol=1e-6)


@pytest.mark.parametrize("hinges", [(0.3, -0.2, 0.5), (-2.0, 1.2, 3.0), (1.57, 0.0, -1.0)])
def test_hinges_and_orientation_are_inverse(hinges):
    found = hand.hinges_of(hand.orientation(jnp.array(hinges)))
    np.testing.assert_allclose(found, hinges, atol=2e-6)


def test_standing_still_commands_the_present_pose():
    joints = with_entry(REST, 5, 0.7)
    np.testing.assert_allclose(hand.targets(joints, STILL, 0.0), joints, atol=1e-6)


def test_translation_is_a_tenth_of_a_metre_along_the_bases_axes():
    moved = hand.targets(REST, with_entry(STILL, 0, 1.0), 0.0) - REST
    np.testing.assert_allclose(moved, [0.1, 0, 0, 0, 0, 0, 0, 0], atol=1e-6)
    # a base turned by -90 degrees looks along -y
    moved = hand.targets(REST, with_entry(STILL, 0, 1.0), -np.pi / 2) - REST
    np.testing.assert_allclose(moved, [0, -0.1, 0, 0, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("axis", range(3))
def test_rotation_has_the_sign_that_the_contract_states(axis):
    target = hand.targets(REST, with_entry(STILL, 3 + axis, 1.0), 0.0)
    before, after = hand.orientation(REST[3:6]), hand.orientation(target[3:6])
    turn = rotations.rotvec_from_quaternion(rotations.quaternion_multiply(after, rotations.quaternion_inverse(before)))
    # +0.1 rad about the base's own axis, not inverted
    expected = hand.CONTRACT.rotation_sign * hand.CONTRACT.rotation_scale * np.eye(3)[axis]
    np.testing.assert_allclose(turn, expected, atol=1e-6)
    assert hand.CONTRACT.rotation_sign == 1


def test_rotations_norm_is_limited_to_one():
    target = hand.targets(REST, STILL.at[3:6].set(1.0), 0.0)
    turn = rotations.quaternion_multiply(
        hand.orientation(target[3:6]), rotations.quaternion_inverse(hand.orientation(REST[3:6]))
    )
    # angles of 0.1 / sqrt(3) about x, y and z: the rotation's angle is 0.1 up to a product of two angles (0.003)
    assert float(jnp.linalg.norm(rotations.rotvec_from_quaternion(turn))) == pytest.approx(0.1, abs=2e-3)


def test_gripper_commands_a_width_and_may_press():
    opened = hand.targets(REST, STILL, 0.0)[6:]
    shut = hand.targets(REST, with_entry(STILL, 6, -1.0), 0.0)[6:]
    half = hand.targets(REST, with_entry(STILL, 6, 0.0), 0.0)[6:]
    np.testing.assert_allclose([opened, shut, half], [[0.04] * 2, [-0.01] * 2, [0.015] * 2], atol=1e-7)


def test_actions_that_cannot_be_are_made_harmless():
    wild = jnp.array([jnp.nan, jnp.inf, -jnp.inf, 1e30, jnp.nan, 0.0, 5.0])
    target = hand.targets(REST, wild, 0.0)
    assert jnp.all(jnp.isfinite(target))
    np.testing.assert_allclose(target[:3] - REST[:3], [0.0, 0.1, -0.1], atol=1e-6)


def test_hinges_take_the_short_way():
    joints = with_entry(REST, 5, 3.1)
    target = hand.targets(joints, with_entry(STILL, 5, -1.0), 0.0)  # beyond pi
    assert abs(float(target[5] - joints[5])) == pytest.approx(0.1, abs=1e-5)


def test_speeds_stand_for_an_arms_joints():
    # 0.1 m/s at a reach of 0.5 m turns a joint at 0.2 rad/s; hinges turn as they do
    speeds = hand.joint_speeds(jnp.array([0.1, 0.0, -0.05, 0.3, 0.0, -0.1, 9.0, 9.0]))
    np.testing.assert_allclose(speeds, [0.2, 0.0, -0.1, 0.3, 0.0, -0.1], atol=1e-6)
