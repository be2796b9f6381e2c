"""Declared bounds of settings and their one checker; a failure is one line: the field, the value, what would be right.

A field of a dataclass of settings says by its annotation what type it has, and by `setting` what values can work:

    learning_rate: float = setting(3e-4, above=0)

`check` holds a whole dataclass against that, `field_value` one field, `from_dict` what was read from JSON. So a value
meets the same rule whether it comes from a flag, from Python or from a file.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import types
import typing
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

from rpd_jax.config.errors import ConfigError as ConfigError  # for those who check and those who catch
from rpd_jax.config.errors import choice, require

TINY, HUGE = 1.2e-38, 1e18  # below: 0 in 32 bits; above: its square is infinite in 32 bits
INT_LIMIT = 2**31


@dataclasses.dataclass(frozen=True)
class Bound:
    """What the value of a field must be, or each item of a list or table; a type's own limits hold besides."""

    low: float | None = None  # at least
    above: float | None = None
    high: float | None = None  # at most
    below: float | None = None
    choices: Sequence[str] = ()
    lengths: Sequence[int] = ()  # of a list; empty: any
    required: bool = False  # a string or list must not be empty
    infinity: str = "refused"  # refused | allowed | none: it is read as None; written "inf" in JSON
    right: str = ""  # what the value must be, in words; empty: as the bounds say


def bounds(**bound: Any) -> dict[str, Bound]:
    """Metadata for `dataclasses.field`; the arguments are those of `Bound`."""
    return {"bound": Bound(**bound)}


def setting(default: Any, **bound: Any) -> Any:
    """A field with a default and a declared bound; the arguments are those of `Bound`."""
    return dataclasses.field(default=default, metadata=bounds(**bound))


class Settings:
    """Base of dataclasses of settings that can be changed: a field that they do not have cannot be set."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]  # every subclass is a dataclass
    renamed: ClassVar[Mapping[str, str]] = {}  # former name of a field -> its name; both work, with a warning

    def __setattr__(self, name: str, value: Any) -> None:
        name = current_name(type(self), name)
        _check_name(type(self), name, f"{type(self).__name__}.<field>")
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:  # only of what is not there
        if name not in type(self).renamed:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self, current_name(type(self), name))


def current_name(cls: Any, name: str) -> str:
    """The field's name, with a warning where `name` is its former one."""
    new = getattr(cls, "renamed", {}).get(name, name)
    if new != name:
        warnings.warn(f"{cls.__name__}.{name} is called {new} now", DeprecationWarning, stacklevel=3)
    return new


def accept_former_names(cls: type) -> type:
    """Decorates a dataclass of settings whose constructor takes the names in `renamed` too."""
    init = cls.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def __init__(self: Any, *arguments: Any, **values: Any) -> None:
        init(self, *arguments, **{current_name(cls, name): value for name, value in values.items()})

    cls.__init__ = __init__  # type: ignore[misc]
    return cls


def check(settings: Any, prefix: str = "") -> None:
    """Raises ConfigError for the first value of a dataclass, and of those in it, that cannot work.

    Values that mean what the annotation says are converted in place: whole floats and numpy's scalars to numbers,
    lists to tuples, "a,b" to a tuple of strings, tables to dataclasses.

    Args:
      settings: the dataclass, also a frozen one.
      prefix: of its fields' names in messages, e.g. "ppo.".
    """
    if hasattr(settings, "check_kind"):  # one of several kinds, see `tagged`
        settings.check_kind()
    for field in dataclasses.fields(settings):
        value = field_value(type(settings), field.name, getattr(settings, field.name), prefix)
        object.__setattr__(settings, field.name, value)


def field_value(cls: Any, name: str, value: Any, prefix: str = "") -> Any:
    """`value`, converted to what the field `name` of the dataclass `cls` declares; raises ConfigError as `check`."""
    bound = cls.__dataclass_fields__[name].metadata.get("bound", Bound())
    return _convert(value, field_types(cls)[name], bound, prefix + name)


def from_dict(cls: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """A dataclass of settings from (nested) tables; raises ConfigError for unknown fields and as `check` does."""
    require(isinstance(values, Mapping), prefix.rstrip(".") or "config", values, "a table of settings")
    if hasattr(cls, "fields_of"):  # one of several kinds, see `tagged`
        cls, values = cls.fields_of(values)
    converted = {}
    for name, value in values.items():
        name = getattr(cls, "renamed", {}).get(name, name)
        _check_name(cls, name, f"config.{prefix}<field>")
        converted[name] = field_value(cls, name, value, prefix)
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            require(field.name in converted, prefix + field.name, None, "given")
    return cls(**converted)


def to_dict(settings: Any) -> dict[str, Any]:
    """Inverse of `from_dict`; infinity is written "inf", since strict JSON has no such number."""

    def table(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: "inf" if isinstance(value, float) and value == math.inf else value for name, value in items}

    return dataclasses.asdict(settings, dict_factory=table)


def allowed(cls: Any, name: str) -> str:
    """What the field `name` of the dataclass `cls` may be, in words; "" where its type says it all."""
    bound = cls.__dataclass_fields__[name].metadata.get("bound", Bound())
    (kind, *_), none_allowed = alternatives(field_types(cls)[name])
    if typing.get_origin(kind) is tuple:
        kind = alternatives(typing.get_args(kind)[0])[0][0]
    words = f"one of {', '.join(filter(None, bound.choices))}" if bound.choices else bound.right
    if not words and kind in (int, float) and _phrase(kind, bound, full=True) != _phrase(kind, Bound()):
        words = _phrase(kind, bound, full=True)
    return f"{words}, or None" if none_allowed and words else "or None" if none_allowed else words


def field_types(cls: Any) -> Mapping[str, Any]:
    """The fields of a dataclass and their types."""
    return _field_types(cls)


@functools.cache
def _field_types(cls: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def alternatives(annotation: Any) -> tuple[tuple[Any, ...], bool]:
    """The types of `A | B | None` but for None, and whether None is among them."""
    found = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return tuple(each for each in found if each is not types.NoneType), types.NoneType in found


def _convert(value: Any, annotation: Any, bound: Bound, name: str) -> Any:
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of numpy or jax
    if bound.infinity != "refused" and isinstance(value, str) and value == "inf":
        value = math.inf
    if bound.infinity == "none" and isinstance(value, float) and value == math.inf:
        value = None
    kinds, none_allowed = alternatives(annotation)
    if none_allowed and value is None:
        return None
    kind = next((k for k in kinds if _is_dataclass(k) and isinstance(value, (k, Mapping))), kinds[0])
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _tuple(value, typing.get_args(kind), bound, name)
    if origin is dict:
        require(isinstance(value, Mapping), name, value, "a table")
        item = typing.get_args(kind)[1]
        return {str(key): _convert(each, item, bound, f"{name}.{key}") for key, each in value.items()}
    if _is_dataclass(kind):
        if isinstance(value, Mapping):
            return from_dict(kind, value, f"{name}.")
        require(isinstance(value, kind), name, value, f"a {kind.__name__}, or a table of its fields")
        check(value, f"{name}.")
        return value
    if kind is str and bound.choices:
        choice(name, value, bound.choices)
    try:
        return _SCALARS[kind](value, kind, bound)
    except _Unfit as unfit:
        require(False, name, value, bound.right or f"{'None or ' if none_allowed else ''}{unfit}")
        raise


def _is_dataclass(kind: Any) -> TypeGuard[type]:
    return dataclasses.is_dataclass(kind)


def _tuple(value: Any, items: tuple[Any, ...], bound: Bound, name: str) -> tuple[Any, ...]:
    kind = alternatives(items[0])[0][0]
    lengths = bound.lengths if items[-1] is Ellipsis else (len(items),)
    noun = {int: "whole number", float: "number", bool: "boolean"}.get(kind, "string")
    right = " or ".join(f"{_WORDS.get(n, n)} {noun}s" for n in lengths if n)
    right = bound.right or right or (f"at least one {noun}" if bound.required else f"a list of {noun}s")
    given = value
    if kind is str and isinstance(value, str):
        value = [value]
    if getattr(value, "ndim", None) == 1:
        value = value.tolist()
    require(isinstance(value, Sequence) and not isinstance(value, (str, bytes)), name, given, right)
    if kind is str:  # one string may be several: "a,b"
        parts = [each.split(",") if isinstance(each, str) else [each] for each in value]
        value = [each for part in parts for each in part if each != ""]
    fits = len(value) in lengths if lengths else len(value) > 0 or not bound.required
    require(fits, name, given, f"{right}, or empty" if 0 in lengths else right)
    bound = dataclasses.replace(bound, right="", required=True)
    return tuple(_convert(each, items[0], bound, f"{name}[{index}]") for index, each in enumerate(value))


_WORDS = {2: "two", 3: "three"}


class _Unfit(Exception):
    """What a scalar must be, in words."""


def _boolean(value: Any, kind: type, bound: Bound) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("True or False")
    return value


def _string(value: Any, kind: type, bound: Bound) -> str:
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(value, str):
        raise _Unfit("a string")
    if re.search("[\0\ud800-\udfff]", value):
        raise _Unfit("a string without NUL and lone surrogates")
    if bound.required and not value:
        raise _Unfit("a string that is not empty")
    return str(value)


def _number(value: Any, kind: type, bound: Bound) -> float:
    """An int or a float."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or (kind is int and value != value // 1):  # nor are nan and infinity equal to that
        raise _Unfit(_phrase(kind, bound, full=True))
    if value != value or (abs(value) == math.inf and not (value > 0 and bound.infinity == "allowed")):
        raise _Unfit(f"{_phrase(kind, bound, full=True)} and finite")
    if (
        (bound.low is not None and value < bound.low)
        or (bound.above is not None and value <= bound.above)
        or (bound.high is not None and value > bound.high)
        or (bound.below is not None and value >= bound.below)
    ):
        raise _Unfit(_phrase(kind, bound))
    if kind is int and bound.high is None and not -INT_LIMIT <= value < INT_LIMIT:
        raise _Unfit("below 2**31 in size")
    if kind is float and bound.high is None and HUGE < abs(value) < math.inf:
        raise _Unfit(f"at most {HUGE:g} in size")
    if bound.above == 0 and value < TINY:
        raise _Unfit("positive in 32 bits too")
    return kind(value)


_SCALARS = {bool: _boolean, str: _string, int: _number, float: _number}


def _phrase(kind: type, bound: Bound, full: bool = False) -> str:
    """The bounds in words, of a number; with its type where that does not go without saying, if `full`."""
    noun = "whole number" if kind is int else "number"
    low = bound.low if bound.above is None else bound.above
    high = bound.high if bound.below is None else bound.below
    if low is not None and high is not None:
        left, right = "[" if bound.above is None else "(", "]" if bound.below is None else ")"
        return f"a {noun} in {left}{low:g}, {high:g}{right}"
    if bound.above == 0:
        return f"a positive {noun}"
    words = (("at least", bound.low), ("above", bound.above), ("at most", bound.high), ("below", bound.below))
    phrase = next((f"{word} {limit:g}" for word, limit in words if limit is not None), "")
    if not phrase:
        return f"a {noun}"
    return f"a {noun}, {phrase}" if full else phrase


def _check_name(cls: Any, name: Any, where: str) -> None:
    """Raises ConfigError unless `name` is a field of the dataclass `cls`; `where` stands for it in the message."""
    if name not in cls.__dataclass_fields__:
        sections = {part: each for part, each in field_types(cls).items() if dataclasses.is_dataclass(each)}
        inside = [f"{part}.{name}" for part, each in sections.items() if name in field_types(each)]
        choice(where, name, field_types(cls), closest=inside[0] if inside else "")
