"""Settings from dictionaries, and checks of them; a failure is one line: the field, the value, what would be right."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
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


def from_dict(cls: Any, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass of settings from (nested) dictionaries; raises ConfigError for unknown fields of `where`."""
    hints = typing.get_type_hints(cls)
    for name in values:
        choice(f"{where}.<field>", name, hints)
    converted = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            converted[name] = from_dict(hints[name], value, f"{where}.{name}")
        else:
            converted[name] = tuple(value) if isinstance(value, list) else value
    return cls(**converted)
