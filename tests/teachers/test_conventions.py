"""The named contracts, said in ManiSkill's terms by hand. The conversion itself: tests/test_contracts.py."""

import numpy as np
import pytest

from rpd_jax.actions.contracts import convert
from teachers.conventions import JUELG_OCTO, LIBERO_OSC, MANISKILL_EE, OXE_METRIC


def said(action, source, target=MANISKILL_EE, **options):
    return np.asarray(convert(np.asarray(action, np.float32), source, target, **options))


@pytest.mark.parametrize(
    ("source", "action", "expected"),
    [
        # 5 cm are half of 0.1 m; 0.03 rad about z are -0.3 of an inverted 0.1 rad; [0, 1] -> [-1, 1]
        (OXE_METRIC, [0.05, -0.02, 0.01, 0.0, 0.0, 0.03, 1.0], [0.5, -0.2, 0.1, 0.0, 0.0, -0.3, 1.0]),
        (OXE_METRIC, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5], [0.0] * 7),
        # 1 is 5 cm there; 0.2 is 0.1 rad; the gripper is the other way round
        (LIBERO_OSC, [1.0, -0.5, 0.0, 0.2, 0.0, 0.0, -1.0], [0.5, -0.25, 0.0, -1.0, 0.0, 0.0, 1.0]),
        (LIBERO_OSC, [0.0, 0.0, 0.0, 0.0, -0.1, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.5, 0.0, -1.0]),
        # the environment's own convention but for the gripper
        (JUELG_OCTO, [0.3, -0.4, 0.5, 0.6, -0.7, 0.8, 0.25], [0.3, -0.4, 0.5, 0.6, -0.7, 0.8, -0.5]),
        # out of the box
        (JUELG_OCTO, [3.0, -4.0, 0.5, 2.0, -2.0, 0.0, 1.7], [1.0, -1.0, 0.5, 1.0, -1.0, 0.0, 1.0]),
    ],
)
def test_by_hand(source, action, expected):
    np.testing.assert_allclose(said(action, source), expected, atol=1e-6)


def test_the_reference_leaves_the_gripper_unmapped():
    action = [0.0] * 6 + [0.25]
    assert said(action, JUELG_OCTO, gripper="reference")[6] == pytest.approx(0.25)
    assert said(action, JUELG_OCTO, gripper="fixed")[6] == pytest.approx(-0.5)
