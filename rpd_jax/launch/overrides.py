"""--config.FIELD=VALUE: from texts of the command line to the fields of a dataclass of settings."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import typing
from collections.abc import Sequence
from typing import Any

from rpd_jax.config import ConfigError, check_field
from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import alternatives, field_types, field_value, require

OVERRIDE = re.compile(r"--?(?P<no>no)?config\.(?P<path>[^=]+)(=(?P<text>.*))?", re.DOTALL)
TRUTH = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
LONGEST_RANGE = 10_000


def override(settings: Any, arguments: Sequence[str]) -> list[str]:
    """Sets what --config.FIELD=VALUE says in a dataclass of settings; returns the other arguments.

    Lists are written with commas, or by a flag several times; whole numbers in them also as ranges, 0..2 for 0, 1, 2.

    Raises:
      ConfigError: there is no such field, or it cannot have that value.
    """
    pending, others = kinds_first(settings, arguments), list[str]()
    given: dict[str, Any] = {}
    while pending:
        argument = pending.pop(0)
        if argument == "--":
            return [*others, argument, *pending]
        found = OVERRIDE.fullmatch(argument)
        if not found:
            others.append(argument)
            continue
        path, text = found["path"], found["text"]
        check_field(path, type(settings))
        *sections, name = path.split(".")
        owner = functools.reduce(getattr, sections, settings)
        if name not in field_types(type(owner)):
            setattr(owner, name, text)  # a field of another kind: this refuses it
        kind = field_types(type(owner))[name]
        if dataclasses.is_dataclass(kind):
            raise ConfigError(f"{argument} cannot work: set its fields, --config.{path}.FIELD=VALUE")
        no_value = text is None and (not pending or pending[0].startswith("--"))
        if kind is not bool and (found["no"] or no_value):
            raise ConfigError(f"{argument} cannot work: write --config.{path}=VALUE")
        if text is None:
            text = str(not found["no"]) if kind is bool else pending.pop(0)
        value = read(text, kind, path)
        if isinstance(value, tuple) and path in given:
            value = given[path] + value
        given[path] = value
        setattr(owner, name, field_value(type(owner), name, value, path.removesuffix(name)))
        if name == "name" and isinstance(owner, Tagged):
            owner.check_kind()
    return others


def kinds_first(settings: Any, arguments: Sequence[str]) -> list[str]:
    """The arguments, those that name a kind (--config.teacher.name) first: it decides which other fields there are."""
    first, rest = list[str](), list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    named = {f"{field}.name" for field in field_types(type(settings)) if isinstance(getattr(settings, field), Tagged)}
    for position in range(end - 1, -1, -1):
        found = OVERRIDE.fullmatch(rest[position])
        if found and found["path"] in named:
            size = 2 if found["text"] is None else 1
            first[:0] = rest[position : position + size]
            del rest[position : position + size]
    return [*first, *rest]


def read(text: str, annotation: Any, path: str) -> Any:
    """What a flag's text means for a field of that type; text that means nothing is left for the check to refuse."""
    (kind, *_), none_allowed = alternatives(annotation)
    if none_allowed and text in ("None", "none", "null"):
        return None
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        parts = (part.strip().strip("'\"") for part in text.strip().strip("()[]").split(","))
        items = (read_range(part, path) if item is int else [read(part, item, path)] for part in parts if part)
        return tuple(itertools.chain.from_iterable(items))
    if kind is bool:
        return TRUTH.get(text.lower(), text)
    for number in (int, float) if kind in (int, float) else ():
        try:
            return number(text)
        except ValueError:
            pass
    return text


def read_range(text: str, path: str) -> Sequence[Any]:
    """The numbers of "FIRST..LAST", both included, or of "NUMBER"; ConfigError where they are none or too many."""
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if not found:
        return [read(text, int, path)]
    first, last = int(found[1]), int(found[2])
    right = f"FIRST..LAST, at most {LONGEST_RANGE} numbers"
    require(0 <= last - first < LONGEST_RANGE, path, text, right)
    return range(first, last + 1)
