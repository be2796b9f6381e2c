"""Actions said in other terms: by hand, against SciPy, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from rpd_jax.actions import rotations
from rpd_jax.actions.contracts import check_convertible, convert, convert_std, converted
from rpd_jax.types import ActionContract, ActionStatistics

EULER = ActionContract(1.0, 1.0, "euler_xyz", 1, "base", 0.0, 1.0, low=None, high=None)
METRIC = dataclasses.replace(EULER, rotation_form="axis_angle")  # metres, radians, gripper 1 open
EE = ActionContract(0.1, 0.1, "euler_xyz", -1, "base", -1.0, 1.0)  # ManiSkill's
ALL = (True,) * 7


def statistics(kind="bounds", first=(-1.0,) * 7, second=(1.0,) * 7, mask=ALL):
    return ActionStatistics(kind, tuple(first), tuple(second), tuple(mask))


def said(action, source, target=EE, **options):
    return np.asarray(convert(np.asarray(action, np.float32), source, target, **options))


def test_bounds_are_denormalised_by_hand():
    # 0.5 lies at three quarters of [-0.02, 0.06]: 0.04 m; the masked gripper is passed on
    bounds = statistics("bounds", [-0.02] * 6 + [0.3], [0.06] * 6 + [0.7], [True] * 6 + [False])
    source = dataclasses.replace(METRIC, statistics=bounds)
    converted = said([0.5, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0], source)
    np.testing.assert_allclose(converted[:3], [0.4, -0.2, 0.6], atol=1e-6)
    assert converted[6] == pytest.approx(1.0)


def test_normal_statistics_are_denormalised_by_hand():
    # 0.01 - 1.5 * 0.02 = -0.02 m
    normal = statistics("normal", [0.01] * 6 + [0.0], [0.02] * 6 + [1.0])
    converted = said([-1.5, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], dataclasses.replace(METRIC, statistics=normal))
    np.testing.assert_allclose(converted[:3], [-0.2, 0.1, 0.3], atol=1e-6)
    assert converted[6] == pytest.approx(-1.0)


def test_a_normalised_target_inverts_its_statistics():
    bounds = statistics("bounds", [-0.02] * 7, [0.06] * 7, [True] * 6 + [False])
    contract = dataclasses.replace(METRIC, statistics=bounds)
    action = np.random.default_rng(0).uniform(-1, 1, (5, 7))
    np.testing.assert_allclose(said(action, contract, contract), action, atol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-3, 0.1, 1.0, 3.0])
def test_rotation_forms_agree_with_scipy(size):
    axes = np.random.default_rng(1).normal(size=(64, 3))
    vectors = size * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    actions = np.concatenate([np.zeros((64, 3)), vectors, np.zeros((64, 1))], axis=1)
    angles = said(actions, METRIC, EULER)[:, 3:6]
    truth = Rotation.from_rotvec(vectors)
    np.testing.assert_allclose(Rotation.from_euler("XYZ", angles).as_matrix(), truth.as_matrix(), atol=2e-6)
    back = said(np.concatenate([np.zeros((64, 3)), angles, np.zeros((64, 1))], axis=1), EULER, METRIC)[:, 3:6]
    np.testing.assert_allclose(Rotation.from_rotvec(back).as_matrix(), truth.as_matrix(), atol=5e-6)
    if size < 3.0:  # where the vector is the only one of its rotation, it is recovered itself
        np.testing.assert_allclose(back, vectors, atol=2e-6)


def test_half_turns_are_read_from_matrices():
    axes = np.concatenate([np.eye(3), [[0.6, 0.8, 0.0], [0.0, -0.6, 0.8]]])
    matrices = Rotation.from_rotvec(np.pi * axes).as_matrix().astype(np.float32)
    vectors = np.asarray(rotations.rotvec_from_matrix(matrices))
    np.testing.assert_allclose(Rotation.from_rotvec(vectors).as_matrix(), matrices, atol=1e-6)


def test_euler_angles_are_not_an_axis_angle():
    # R = Rx(0.5) Ry(0.5): the forms differ by SciPy's amount, which passing the numbers on would miss
    converted = said([0, 0, 0, 0.5, 0.5, 0.0, 0], EULER, METRIC)[3:6]
    expected = Rotation.from_euler("XYZ", [0.5, 0.5, 0.0]).as_rotvec()
    np.testing.assert_allclose(converted, expected, atol=1e-6)
    assert np.abs(expected - [0.5, 0.5, 0.0]).max() > 0.1


def test_there_and_back_and_batches_and_jit():
    actions = np.random.default_rng(2).uniform(-0.05, 0.05, (3, 4, 7)).astype(np.float32)
    there = jax.jit(lambda a: convert(a, METRIC, EE))(actions)
    assert there.shape == (3, 4, 7) and there.dtype == np.float32
    np.testing.assert_allclose(convert(there, EE, METRIC)[..., :6], actions[..., :6], atol=1e-6)
    np.testing.assert_allclose(there[1, 2], said(actions[1, 2], METRIC), atol=1e-6)


def test_standard_deviations_follow_the_slope():
    # metres -> tenths: x 10; the gripper's [0, 1] -> [-1, 1]: x 2; bounds of width 0.2: x 0.1, masked: x 1
    bounds = statistics("bounds", [-0.1] * 7, [0.1] * 7, [True] * 6 + [False])
    std = np.full((2, 7), 0.01, np.float32)
    plain = convert_std(std, METRIC, EE)
    np.testing.assert_allclose(plain, np.tile([0.1] * 6 + [0.02], (2, 1)), rtol=1e-5)
    scaled = convert_std(std, dataclasses.replace(METRIC, statistics=bounds), EE, "reference")
    np.testing.assert_allclose(scaled, np.tile([0.01] * 6 + [0.01], (2, 1)), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"translation_scale": 0.0}, r"source.translation_scale=0.0"),
        ({"translation_scale": float("nan")}, r"source.translation_scale=nan"),
        ({"rotation_scale": -0.1}, r"source.rotation_scale=-0.1: must be positive"),
        ({"rotation_form": "euler_zyx"}, r"source.rotation_form='euler_zyx': choose from"),
        ({"rotation_sign": 0}, r"source.rotation_sign=0: must be 1 or -1"),
        ({"frame": "tool"}, r"source.frame='tool'"),
        ({"gripper_open": 0.0}, r"source.gripper_closed=0.0, gripper_open=0.0"),
        ({"gripper_open": float("inf")}, r"gripper_open=inf"),
        ({"low": 1.0, "high": -1.0}, r"source.low=1.0, high=-1.0"),
        ({"statistics": statistics("minmax")}, r"source.statistics.kind='minmax'"),
        ({"statistics": statistics(first=(0.0,) * 6)}, r"offset_or_low has 6 entries: 7"),
        ({"statistics": statistics(mask=ALL + ALL)}, r"mask has 14 entries: 7"),
        ({"statistics": statistics(second=(1.0,) * 6 + (float("nan"),))}, r"scale_or_high=.*must be finite"),
        ({"statistics": statistics(second=(1.0, -1.0) + (1.0,) * 5)}, r"dimension 1 is not positive"),
        ({"statistics": statistics("normal", second=(0.0,) * 7)}, r"scale of dimension 0 is not positive"),
    ],
)
def test_bad_contracts_are_refused(change, message):
    bad = dataclasses.replace(METRIC, **change)
    with pytest.raises(ValueError, match=message):
        check_convertible(bad, EE)
    with pytest.raises(ValueError, match=message.replace("source", "target")):
        check_convertible(EE, bad)


def test_masked_dimensions_may_have_no_range():
    ok = statistics(second=(1.0,) * 6 + (-1.0,), mask=(True,) * 6 + (False,))
    check_convertible(dataclasses.replace(METRIC, statistics=ok), EE)


def test_no_contract_and_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"target contract is None: .*pd_ee_delta_pose"):
        check_convertible(METRIC, None)
    with pytest.raises(ValueError, match=r"gripper='open': choose from"):
        said([0.0] * 7, METRIC, gripper="open")
    with pytest.raises(ValueError, match=r"action of shape \(8,\)"):
        said([0.0] * 8, METRIC)


def test_what_is_cut_short_is_told_from_what_is_rounded():
    """50 looks like 1 after clipping, and is said to be cut short; 1.05 of a box of width 2 is not."""
    found, clipped = converted(np.array([50.0, 1.05, 1.0, 1.11, -1.11])[:, None] * np.ones(7), EE, EE)
    np.testing.assert_array_equal(clipped, [True, False, False, True, True])
    np.testing.assert_array_equal(found[:, 0], [1, 1, 1, 1, -1])
    one = np.zeros(7)
    one[6] = 50.0
    assert converted(one, EE, EE)[1].shape == () and converted(one, EE, EE)[1]
    unbounded = dataclasses.replace(EE, low=None, high=None)
    assert not converted(one, EE, unbounded)[1]
