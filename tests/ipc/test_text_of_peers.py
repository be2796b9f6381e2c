"""What other processes write, made fit for messages and terminals."""

import pytest

from rpd_jax.ipc.text import last_error, one_line, printable

FRAMES = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n  b\tc\r\nd", "a b c d"),
        ("\x1b[2J\x1b]0;owned\x07\u202e\u2028x\udc80\x9b", r"\x1b[2J\x1b]0;owned\x07\u202e x\udc80\x9b"),
        ("grün 抓", "grün 抓"),
        ("x" * 1002, "x" * 1000 + "... (2 more characters)"),
        (ValueError("two\nlines"), "two lines"),
        ("", ""),
    ],
)
def test_one_line(text, expected):
    assert one_line(text) == expected


def test_printable_text_keeps_its_lines():
    assert printable("a\n\tb\r\x1bc") == "a\n\tb\\r\\x1bc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{FRAMES}ValueError: shapes differ\n  expected 1\n  got 2\n", "ValueError: shapes differ expected 1 got 2"),
        (f"{FRAMES}KeyError: 1\n\nDuring handling of it:\n\n{FRAMES}TypeError: 2", "TypeError: 2"),
        ("no traceback\nat all", ""),
        ("", ""),
    ],
)
def test_last_error(text, expected):
    assert last_error(text) == expected
