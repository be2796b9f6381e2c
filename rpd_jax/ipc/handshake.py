"""What both sides of a connection must agree on, compared field by field before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class HandshakeError(ValueError):
    """The two sides do not fit; the message names the field, its value here and its value there."""


def compare(here: Mapping[str, Any], there: Mapping[str, Any], what: str = "handshake") -> None:
    """Checks that every field named `here` has the same value `there`; other fields of `there` do not matter.

    In lists and mappings `None` stands for any value, on either side. Values are plain data, as in messages.

    Args:
      here: what this side expects.
      there: what the other side says of itself.
      what: for the message.

    Raises:
      HandshakeError: for the first field that differs or is missing.
    """
    for name, value in here.items():
        if name not in there:
            raise HandshakeError(f"{what}: {name} is {value!r} here, the other side has no such field")
        if not _fits(value, there[name]):
            raise HandshakeError(f"{what}: {name} is {value!r} here, {there[name]!r} on the other side")


def _fits(here: Any, there: Any) -> bool:
    if here is None or there is None:
        return True
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        return here.keys() == there.keys() and all(_fits(here[key], there[key]) for key in here)
    if isinstance(here, (list, tuple)) and isinstance(there, (list, tuple)):
        return len(here) == len(there) and all(map(_fits, here, there))
    return bool(here == there)
