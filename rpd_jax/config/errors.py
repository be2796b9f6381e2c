"""What a setting that cannot work gets: one line with the field, the value and what would be right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot work; the message is one line naming the field, the value and what would be right."""


def choice(field: str, value: Any, choices: Iterable[str], closest: str = "") -> None:
    """Raises ConfigError unless `value` is one of `choices`; the message lists them and the closest match."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        close = closest or _closest(str(value), choices)
        hint = f"; did you mean {close!r}?" if close else ""
        listed = ", ".join(each for each in choices if each)
        raise ConfigError(f"{field}={_shown(value)} is unknown: choose from {listed}{hint}")


def require(holds: bool, field: str, value: Any, right: str) -> None:
    """Raises ConfigError unless it `holds`; `right` says what the value of `field` must be."""
    if not holds:
        raise ConfigError(f"{field}={_shown(value)} cannot work: it must be {right}")


def _closest(value: str, choices: Sequence[str]) -> str:
    """The choice that was probably meant, by its letters or its initials; "" if there is none."""
    initials = [each for each in choices if value == "".join(part[:1] for part in re.split("[-_]", each))]
    return next(iter(difflib.get_close_matches(value, choices, n=1, cutoff=0.6) or initials), "") or next(
        iter(difflib.get_close_matches(value, choices, n=1, cutoff=0.4)), ""
    )


def _shown(value: Any) -> str:
    """A value on one line that is not too long."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an int of thousands of digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 120 else f"{text[:100]}..."
