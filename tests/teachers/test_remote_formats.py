"""What is sent to policy servers, and what is read of their answers, without one."""

from __future__ import annotations

import numpy as np
import pytest
from served import SIZE, frames, spec_with_frames

from rpd_jax.ipc.messages import ProtocolError
from teachers.remote.adapters import array_from
from teachers.remote.openpi import pack, unpack
from teachers.remote.request import Request
from teachers.remote.steps import fitted
from teachers.remote.vlagents import decode, encode


def test_a_request_has_the_servers_names():
    spec = spec_with_frames()
    begin, end = spec.layout["state"]["tcp_pose"]
    entries = ("a/image=rgb", "a/wrist=black", "tool=state.tcp_pose", "all=state", "prompt=instruction")
    request = Request(entries, spec, 0)
    state = np.arange(2 * spec.observation["state"].shape[0], dtype=np.float32).reshape(2, -1)
    fields = request.fields(request.check({"rgb": frames(2), "state": state}), 1, "go")
    assert request.observation_keys == ("rgb", "state") and list(fields) == [
        "a/image",
        "a/wrist",
        "tool",
        "all",
        "prompt",
    ]
    np.testing.assert_array_equal(fields["a/image"], frames(2)[1])
    assert fields["a/wrist"].shape == (SIZE, SIZE, 3) and not fields["a/wrist"].any()
    np.testing.assert_array_equal(fields["tool"], state[1, begin:end])
    np.testing.assert_array_equal(fields["all"], state[1])
    assert fields["prompt"] == "go"
    with pytest.raises(ValueError, match=r"observation\['rgb'\]: need uint8 of shape"):
        request.check({"rgb": frames(2)[:, :8], "state": state})


def test_frames_are_fitted_with_black_bars():
    # 4 x 8 pixels into 4 x 4: half the size, 2 rows, and one black row above and below.
    frame = np.full((4, 8, 3), 200, np.uint8)
    expected = np.zeros((4, 4, 3), np.uint8)
    expected[1:3] = 200
    np.testing.assert_array_equal(fitted(frame, 4), expected)
    assert fitted(frames(1)[0], SIZE) is not None and fitted(frames(1)[0], 224).shape == (224, 224, 3)


def test_openpis_messages():
    # A fixmap of one, its key "x", an array as msgpack-numpy writes it: bytes as keys, and no extension type.
    written = pack({"x": np.array([1, 2], np.uint8)})
    assert written.startswith(b"\x81\xa1x\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x02\x01\x02\xc4\x05dtype\xa3|u1")
    np.testing.assert_array_equal(unpack(written)["x"], [1, 2])
    for wrong in (b"", b"\xc1", pack([1])):
        with pytest.raises(ProtocolError):
            unpack(wrong)


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [(b"12345678", "|O", [1]), (b"1234", "<f4", [2]), (b"1234", "<f4", [-1]), ("1234", "<f4", [1]), (b"", "x", [0])],
)
def test_arrays_that_are_none(data, dtype, shape):
    with pytest.raises(ProtocolError):
        array_from(data, dtype, shape)


def test_vlagents_texts():
    robot, text = encode({"right/rgb_side": frames(1)[0], "right/joints": np.zeros(7), "language_instruction": "go"})
    assert robot == "right" and '"camera_data_type": "raw"' in text
    for wrong in ({"rgb": frames(1)[0]}, {"right/tquat": np.zeros(7)}, {"language_instruction": "go"}):
        with pytest.raises(ValueError, match=r"teacher\.request: vlagents"):
            encode(wrong)
    answer = '{"acts": [{"right": {"action": [1, 2], "gripper": 0.5}}, {"right": {"action": [3, 4], "gripper": 1}}]}'
    np.testing.assert_array_equal(decode(answer, "right"), [[1, 2, 0.5], [3, 4, 1]])
    for wrong in ('{"acts": []}', "{}", "[", answer.replace("right", "left")):
        with pytest.raises(ProtocolError, match="without actions of robot 'right'"):
            decode(wrong, "right")
