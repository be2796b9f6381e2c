"""What a policy server is sent, in the language of `teachers.remote.expression`, and ready requests by name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from served import SIZE, libero_spec, spec_with_frames

from rpd_jax.config import ConfigError, TeacherConfig
from teachers.base import load
from teachers.remote import ADAPTERS
from teachers.remote.mappings import READY
from teachers.remote.request import Request
from teachers.remote.steps import STEPS, axis_angle, step
from teachers.remote.vlagents import encode

STATE = np.arange(6, dtype=np.float32)
PROPRIO = np.arange(8, dtype=np.float32) / 8
FRAME = np.arange(SIZE * SIZE * 3, dtype=np.uint32).astype(np.uint8).reshape(SIZE, SIZE, 3)
SEEN = {"state": STATE, "proprio": PROPRIO, "rgb": FRAME, "rgb_wrist": 255 - FRAME}


def sent(expression: str, frame_size: int = 0):
    """What is sent of `SEEN`, in the second row of two."""
    request = Request(("frame=rgb", f"x={expression}"), libero_spec(), frame_size)
    rows = {key: np.stack([np.zeros_like(value), value]) for key, value in SEEN.items()}
    return request.fields(request.check(rows), 1, "go")["x"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("state", [0, 1, 2, 3, 4, 5]),
        ("state[1:3]", [1, 2]),
        ("state[:2] + state[4:]", [0, 1, 4, 5]),
        ("proprio.gripper_qpos", [0.75, 0.875]),
        ("proprio.eef_pos[2:3]+proprio.gripper_qpos+-1.5", [0.25, 0.75, 0.875, -1.5]),
        ("zeros:3", [0, 0, 0]),
        ("1+0.25+zeros:1", [1, 0.25, 0]),
        ("(zeros:3+1)|axis_angle:xyzw", [0, 0, 0]),
        ("state[5:6]+(1+zeros:3|axis_angle)", [5, 0, 0, 0]),
    ],
)
def test_numbers(expression, expected):
    for dtype, found in ((np.float32, sent(expression)), (np.float64, sent(f"({expression})|float64"))):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_frames():
    np.testing.assert_array_equal(sent("rgb_wrist"), 255 - FRAME)
    np.testing.assert_array_equal(sent("rgb|rotate180")[0, 0], FRAME[SIZE - 1, SIZE - 1])
    np.testing.assert_array_equal(sent("rgb|rotate180|mirror"), FRAME[::-1])
    assert sent("black|pad:8").shape == (8, 8, 3) and not sent("black").any()
    assert sent("rgb|rotate180", 32).shape == (32, 32, 3)  # no step says its size
    assert sent("rgb|lanczos:8", 32).shape == sent("rgb|bilinear:8").shape == (8, 8, 3)
    assert sent("instruction") == "go"


def test_a_stretched_frame():
    # 2 x 4 to 2 x 2: a triangle of two pixels' radius weighs (3, 3, 1) / 7 of the left three pixels, and mirrored
    frame = np.broadcast_to(np.array([0, 70, 140, 210], np.uint8)[None, :, None], (2, 4, 3))
    np.testing.assert_array_equal(
        step("bilinear:2")(frame)[0, :, 0], [50, 160]
    )  # (210 + 140) / 7, (70 + 420 + 630) / 7
    flat = np.full((2, 4, 3), 9, np.uint8)
    np.testing.assert_array_equal(step("lanczos:3")(flat), np.full((3, 3, 3), 9))
    assert step("lanczos:4")(np.zeros((4, 4, 3), np.uint8)).shape == (4, 4, 3)


def test_quaternions_as_axis_and_angle():
    half = math.sqrt(0.5)
    for quaternion, expected in [
        ([half, half, 0, 0], [math.pi / 2, 0, 0]),  # a quarter turn about x
        ([-half, -half, 0, 0], [math.pi / 2, 0, 0]),  # the same turn
        ([0, 0, 0, 1], [0, 0, math.pi]),
        ([math.cos(2.5), 0, math.sin(2.5), 0], [0, 5 - 2 * math.pi, 0]),  # five radians are shorter the other way
        ([1, 1e-9, 0, 0], [2e-9, 0, 0]),
        ([2, 0, 0, 0], [0, 0, 0]),
        ([0, 0, 0, 0], [0, 0, 0]),
    ]:
        np.testing.assert_allclose(axis_angle(np.array(quaternion, float)), expected, rtol=1e-12, atol=1e-15)
        moved = np.roll(np.array(quaternion, float), -1)
        np.testing.assert_array_equal(axis_angle(moved, "xyzw"), axis_angle(np.array(quaternion, float)))


def test_every_step_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "policy_servers.md").read_text()
    assert all(f"`{name}" in text for name in (*STEPS, *READY))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("x=rgb|padd:8", "step='padd' is unknown: choose from .*; did you mean 'pad'"),
        ("x=rgb|pad", "'pad' must be pad:PIXELS, e.g. pad:224"),
        ("x=rgb|pad:-1", "'pad:-1' must be pad:PIXELS"),
        ("x=rgb|rotate180:2", "'rotate180:2' must be rotate180$"),
        ("x=state[0:4]|axis_angle:zyxw", "must be axis_angle or axis_angle:wxyz or axis_angle:xyzw"),
        ("x=state|axis_angle", "axis_angle needs a quaternion, four numbers, got 6"),
        ("x=state|pad:8", "pad needs a frame, got numbers"),
        ("x=rgb|float32", "float32 needs numbers, got a frame"),
        ("x=rgb+state", "'[+]' joins numbers, and one of these is a frame"),
        ("x=state[:2]+(state[2:]|float64)", "joins numbers of one dtype: put the step float64 behind all"),
        ("x=state[4:7]", r"'state\[4:7\]': state has 6 numbers"),
        ("x=state[3:3]", "state has 6 numbers"),
        ("x=rgb[0:3]", "a frame has no slices"),
        ("x=state[a]", "is no source: need a name"),
        ("x=proprio.elbow", "has no 'proprio.elbow': choose from .*'rgb_wrist', .*'proprio.eef_pos'"),
        ("x=instruction|float32", "'instruction' stands alone"),
        ("x=state+", "a source is missing"),
        ("x=state|", "a step behind '|' is missing".replace("|", "[|]")),
        ("x=(state", r"'\)' is missing"),
        ("x=state)", r"'\)' is one too many"),
        ("x=state state", "'state' is one too many"),
    ],
)
def test_mistakes_are_one_line_with_the_entry(entry, message):
    with pytest.raises(ValueError, match=message) as caught:
        Request((entry,), libero_spec())
    assert str(caught.value).startswith(f"teacher.request: {entry!r}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"request": ("openpi-droid",)}, "teacher.request='openpi-droid' is refused: its actions are joint velocities"),
        ({"request": ("lerobot",)}, "teacher.request='lerobot' is refused: lerobot's policy server .* pickles"),
        ({"protocol": "lerobot"}, "teacher.protocol='lerobot' is refused: lerobot's policy server .* pickles"),
        ({"request": ("openpi-liberi",)}, "must be NAME=SOURCE entries, or one of openpi-libero, vlagents-octo"),
        (
            {"request": ("vlagents-octo",)},
            "teacher.protocol='openpi' .* must be 'vlagents' for teacher.request",
        ),
        ({"request": ("openpi-libero",), "contract": "mine"}, "teacher.contract='mine' is unknown"),
        ({"request": ("openpi-libero",)}, "has no 'rgb_wrist'"),
        ({"protocol": "vlagents", "request": ("rgb=rgb",), "address": "rpyc://127.0.0.1:1"}, "vlagents has no 'rgb'"),
    ],
)
def test_servers_that_cannot_teach_are_refused_before_anything_connects(settings, message):
    good = {
        "address": "ws://127.0.0.1:1",
        "contract": "" if settings.get("request") == ("openpi-libero",) else "maniskill",
    }
    with pytest.raises(ValueError, match=message) as caught:
        load("remote", spec_with_frames(), **{**good, **settings})
    assert "\n" not in str(caught.value)


def test_ready_requests():
    assert {ready.protocol for ready in READY.values()} <= set(ADAPTERS)
    for name in ("vlagents-octo", "vlagents-openvla"):
        request = Request(READY[name].entries, libero_spec())
        fields = request.fields(request.blank(), 0, "go")
        assert fields["right/rgb_side"].shape == (256, 256, 3)  # neither 16, as drawn, nor 224
        assert encode(fields)[0] == "right"
    config = TeacherConfig(name="remote", request="openpi-libero", protocol="lerobot")
    with pytest.raises(ConfigError, match=r"teacher\.protocol='lerobot' is refused"):
        config.check_kind()
