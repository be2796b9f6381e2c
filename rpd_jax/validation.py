"""Checks of settings, whose failure is one line that names the field, the value and what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any


class ConfigError(ValueError):
    """A setting that cannot work; the message is one line naming the field, the value and what would be right."""


def choice(field: str, value: str, choices: Iterable[str]) -> None:
    """Raises ConfigError unless `value` is one of `choices`; the message lists them and the closest match."""
    choices = list(choices)
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{field}={value!r} is unknown: choose from {', '.join(choices)}{hint}")


def require(holds: bool, field: str, value: Any, right: str) -> None:
    """Raises ConfigError unless it `holds`; `right` says what the value of `field` must be."""
    if not holds:
        raise ConfigError(f"{field}={value!r} cannot work: it must be {right}")


def at_least_one(owner: str, settings: Any, *fields: str) -> None:
    """Raises ConfigError for the first of `fields` that is below 1."""
    for field in fields:
        value = getattr(settings, field)
        require(value >= 1, f"{owner}.{field}", value, "at least 1")


def positive(owner: str, settings: Any, *fields: str) -> None:
    """Raises ConfigError for the first of `fields` that is not a positive, finite number."""
    for field in fields:
        value = getattr(settings, field)
        require(value > 0 and math.isfinite(value), f"{owner}.{field}", value, "a positive number")
