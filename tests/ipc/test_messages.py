"""The message protocol."""

import socket
import struct

import msgpack
import pytest

from rpd_jax.ipc import messages
from rpd_jax.ipc.messages import Channel, ConnectionClosed, Message, ProtocolError, RemoteError


@pytest.fixture
def pair():
    left, right = socket.socketpair()
    channels = Channel(left, max_bytes=1000), right
    yield channels
    left.close()
    right.close()


def frame(body, magic=b"rpdm", version=messages.PROTOCOL_VERSION, length=None):
    return struct.pack("!4sHI", magic, version, len(body) if length is None else length) + body


def test_round_trip_in_order(pair):
    channel, far = pair
    sent = [
        Message("step", 1, {}),
        Message("make", 2, {"task": "x", "n": 3, "f": 0.5, "l": [1, None, True], "b": b"\x00\xff"}),
    ]
    other = Channel(far)
    for message in sent:
        other.send(message)
    assert [channel.receive(1.0) for _ in sent] == sent


def test_a_message_in_pieces_survives_a_timeout_between_them(pair):
    channel, far = pair
    data = messages.encode(Message("k", 7, {"x": 1}))
    far.sendall(data[:11])
    with pytest.raises(TimeoutError, match=r"no message within 0\.01 s"):
        channel.receive(0.01)
    far.sendall(data[11:])
    assert channel.receive(1.0) == Message("k", 7, {"x": 1})


def test_end_of_connection_between_messages(pair):
    channel, far = pair
    far.close()
    with pytest.raises(ConnectionClosed, match="closed"):
        channel.receive(1.0)
    with pytest.raises(ConnectionClosed, match="cannot send"):
        channel.send(Message("k"))


def test_end_of_connection_inside_a_message(pair):
    channel, far = pair
    far.sendall(messages.encode(Message("k", 7, {"x": 1}))[:-1])
    far.close()
    with pytest.raises(ProtocolError, match="connection ended after"):
        channel.receive(1.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (frame(b"", magic=b"HTTP"), "bad magic"),
        (frame(b"", version=99), "protocol version 99 of the far side, 1 here"),
        (frame(b"", length=1001), "1001 bytes exceeds the limit of 1000"),
        (frame(b"\xc1"), "not msgpack"),
        (frame(b"\x93\xa1k\x01"), "not msgpack"),
        (frame(msgpack.packb({"kind": "k"})), "must be"),
        (frame(msgpack.packb(["k", "1", {}])), "must be"),
        (frame(msgpack.packb(["k", 1, [1]])), "must be"),
        (frame(msgpack.packb(["k", 1, {1: 2}])), "not msgpack"),
    ],
)
def test_what_is_not_a_message_is_refused(pair, data, message):
    channel, far = pair
    far.sendall(data)
    with pytest.raises(ProtocolError, match=message):
        channel.receive(1.0)


def test_what_is_no_plain_data_or_too_much_is_not_sent(pair):
    channel, far = pair
    with pytest.raises(ValueError, match="plain data"):
        channel.send(Message("k", 0, {"x": object()}))
    with pytest.raises(ValueError, match="exceed the limit of 1000"):
        channel.send(Message("k", 0, {"x": "y" * 1000}))
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(1)


def test_a_far_side_that_does_not_read_is_a_timeout(pair):
    channel, _ = pair
    with pytest.raises(TimeoutError, match="not sent within"):
        for _ in range(10_000):
            channel.send(Message("k", 0, {"x": "y" * 900}), timeout_s=0.05)


def test_exceptions_travel_with_their_traceback():
    def inner():
        raise LookupError("nothing here")

    try:
        inner()
    except LookupError as error:
        reply = messages.decode(messages.encode(messages.error_reply(error, 5))[10:])
    assert reply.sequence == 5
    with pytest.raises(RemoteError, match="LookupError: nothing here") as caught:
        messages.raise_if_error(reply)
    assert caught.value.type_name == "LookupError"
    assert str(caught.value) == "LookupError: nothing here"
    assert "in inner" in caught.value.remote_traceback and "in inner" in caught.value.__notes__[0]


def test_fields_are_checked_for_presence_and_type():
    message = Message("k", 0, {"n": 3})
    assert message.get("n", int) == 3
    with pytest.raises(ProtocolError, match="'n' has type int"):
        message.get("n", str)
    with pytest.raises(ProtocolError, match="'m' is missing"):
        message.get("m", int)
