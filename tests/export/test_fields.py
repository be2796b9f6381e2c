"""Units, frames, ranges and rates that an export states."""

import dataclasses

import numpy as np
import pytest

from rpd_jax.config import EnvConfig
from rpd_jax.envs.registry import task_info
from rpd_jax.envs.tabletop.hand import CONTRACT
from rpd_jax.export import fields
from rpd_jax.export.fields import Slice
from rpd_jax.export.parameters import Scale
from rpd_jax.training.student import env_spec


def test_ranges_by_hand():
    layout = {"goal_pos": Slice(0, 3, "m"), "is_grasped": Slice(3, 4, fields.BOOLEAN), "odd": Slice(4, 6, None)}
    scale = Scale(mean=(0.0, 1.0, 0.5, 0.5, 2.0, 2.0), std=(0.2, 1e-4, 0.001, 0.5, 3.0, 1e-4), clip=10.0)
    low, high = fields.ranges_of(layout, scale, 6)
    # ten deviations; at least 5 cm; 0 to 1 and a rounding; ten deviations; at least 0.1 of what is not known
    np.testing.assert_allclose(low, [-2.0, 0.95, 0.45, -0.001, -28.0, 1.9])
    np.testing.assert_allclose(high, [2.0, 1.05, 0.55, 1.001, 32.0, 2.1])
    low, high = fields.ranges_of(layout, None, 6)
    assert low == (None, None, None, pytest.approx(-0.001), None, None) and high[0] is None


def test_mixed_units_are_ranges_of_each_number():
    layout = {"qpos": Slice(0, 3, "2 rad, 1 m"), "tcp_pose": Slice(3, 10, fields.POSE)}
    scale = Scale(mean=(0.0,) * 10, std=(1e-4,) * 10, clip=10.0)
    low, high = fields.ranges_of(layout, scale, 10)
    np.testing.assert_allclose(high, [0.1, 0.1, 0.05, *[0.05] * 3, *[0.1] * 4])
    np.testing.assert_allclose(low, np.negative(high))


def test_parts_have_the_frames_that_the_suite_explains():
    config = EnvConfig(name="tabletop:PickCube-v1", observation="ee")
    info, layout = task_info(config), env_spec(config).layout["ee"]
    parts = fields.slices_of(layout, info)
    assert parts["tcp_to_obj_pose"] == Slice(19, 22, "m", "world") and parts["width"].frame is None
    assert {part.frame for part in parts.values()} <= {*info.axes, None}
    unexplained = fields.slices_of(layout, dataclasses.replace(info, axes={}))
    assert {part.frame for part in unexplained.values()} == {None}
    turned = task_info(EnvConfig(name="tabletop:RollBall-v1"))
    assert turned.axes["base"] == "the world's axes, turned by -1.571 rad about z"


def test_fields_of_an_action_by_hand():
    low, high = (-1.0,) * 6 + (-1.0,), (1.0,) * 7
    found = fields.action_fields(CONTRACT, low, high, 20.0)
    move, grip = found["translation"], found["gripper"]
    assert (move.start, move.stop, move.unit, move.scale, move.frame, move.kind) == (0, 3, "m", 0.1, "base", "delta")
    assert move.max_rate == pytest.approx(1.25 * 20 * 0.1 * 3**0.5)  # the box's corner, twenty times a second
    assert (grip.kind, grip.rest, grip.unit) == ("absolute", 1.0, "1 (-1 closed, 1 open)")
    assert grip.max_rate == pytest.approx(1.25 * 20 * 2.0)
    assert all(field.max_rate is None for field in fields.action_fields(CONTRACT, low, high, None).values())
    (unknown,) = fields.action_fields(None, low, high, 20.0).values()
    assert (unknown.stop, unknown.kind, unknown.unit, unknown.max_rate) == (7, None, None, None)
