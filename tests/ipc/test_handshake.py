"""What both sides must agree on."""

import pytest

from rpd_jax.ipc.handshake import HandshakeError, compare


def test_fields_of_the_other_side_alone_do_not_matter():
    compare({"a": 1, "shape": [2, None]}, {"a": 1, "shape": (2, 7), "b": 3})
    compare({"shape": (5, 5, 3)}, {"shape": [None, None, 3]})
    compare({"inputs": {"rgb": {"dtype": "uint8"}}}, {"inputs": {"rgb": {"dtype": "uint8"}}})


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        ({"history": 1}, {"history": 2}, "history is 1 here, 2 on the other side"),
        ({"chunk": 1}, {}, "chunk is 1 here, the other side has no such field"),
        ({"shape": [2, 3]}, {"shape": [2, 3, 4]}, r"shape is \[2, 3\] here, \[2, 3, 4\] on the other side"),
        ({"out": {"y": 1}}, {"out": {"z": 1}}, "out is"),
        ({"frame": "base"}, {"frame": "tool"}, "frame is 'base' here, 'tool' on the other side"),
    ],
)
def test_what_differs_is_named(here, there, message):
    with pytest.raises(HandshakeError, match=message):
        compare(here, there)
