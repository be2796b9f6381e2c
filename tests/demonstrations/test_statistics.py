"""Statistics of demonstrations, against numbers worked out by hand."""

import numpy as np
import pytest

from rpd_jax.demonstrations.statistics import action_mask, action_statistics, array_statistics


def test_statistics_by_hand():
    # Two episodes; first dimension 0, 1, 2, 3, 4 and second 1, 1, 1, 1, 6.
    # Means 2 and 2; variances (4 + 1 + 0 + 1 + 4) / 5 = 2 and (4 x 1 + 16) / 5 = 4.
    # Quantile q of five sorted values lies at position 4 q: 0.04 and 3.96, hence 0.04 and 3.96 in the first
    # dimension; 1 and 1 + 0.96 x 5 = 5.8 in the second.
    first = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]], np.float32)
    second = np.array([[3.0, 1.0], [4.0, 6.0]], np.float32)
    proprio = [np.array([[1.0]] * 3), np.array([[3.5]] * 2)]  # mean (3 x 1 + 2 x 3.5) / 5 = 2
    found = action_statistics([first, second], [True, False], proprio)
    action = found["action"]
    np.testing.assert_allclose(action["mean"], [2.0, 2.0])
    np.testing.assert_allclose(action["std"], [np.sqrt(2.0), 2.0])
    assert action["min"] == [0.0, 1.0] and action["max"] == [4.0, 6.0]
    np.testing.assert_allclose(action["p01"], [0.04, 1.0])
    np.testing.assert_allclose(action["p99"], [3.96, 5.8])
    assert action["q01"] == action["p01"] and action["q99"] == action["p99"]
    assert action["mask"] == [True, False]
    assert found["num_transitions"] == 5 and found["num_trajectories"] == 2
    np.testing.assert_allclose(found["proprio"]["mean"], [2.0])


@pytest.mark.parametrize(
    ("mode", "dim", "gripper"),
    [
        ("pd_ee_delta_pose", 7, True),
        ("pd_ee_delta_pose", 6, False),  # an arm that holds a stick
        ("pd_ee_delta_pos", 4, True),
        ("pd_joint_pos", 8, True),
        ("pd_joint_pos", 7, False),
        ("pd_joint_pos_vel", 15, True),  # seven positions and velocities, and the gripper
    ],
)
def test_the_gripper_is_not_normalised(mode, dim, gripper):
    assert action_mask(mode, dim) == [True] * (dim - 1) + [not gripper]


def test_what_has_no_statistics_is_refused():
    with pytest.raises(ValueError, match="at least one episode"):
        action_statistics([], [True])
    with pytest.raises(ValueError, match=r"mask=\[True\] cannot work: it must have 2 entries"):
        array_statistics(np.zeros((3, 2)), [True])
    with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
        array_statistics(np.zeros((0, 2)))
