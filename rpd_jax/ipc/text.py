"""Text that another process or machine wrote, made fit for a terminal and for messages of one line."""

from __future__ import annotations

import itertools

_LIMIT = 1000  # characters of a line in a message


def printable(text: str) -> str:
    """The text with what a terminal could obey (escapes, carriage returns, marks of direction) as backslash escapes."""
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


def one_line(text: object, limit: int = _LIMIT) -> str:
    """The text in one line without control characters; of a long one `limit` characters, and how many follow."""
    line = " ".join(str(text).split())
    more = len(line) - limit
    return printable(line[:limit]) + (f"... ({more} more characters)" if more > 0 else "")


def described(error: BaseException) -> str:
    """The kind of an error and its message, in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def last_error(text: str) -> str:
    """The exception, with its whole message, at the end of the last traceback in a text; empty if it has none."""
    lines = text.strip().splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    frames = lines[begins[-1] + 1 :] if begins else []
    return one_line(" ".join(itertools.dropwhile(lambda line: line.startswith(" "), frames)))
