"""Settings of several kinds: `name` says which, and each kind has fields of its own beside the common ones.

    @dataclasses.dataclass
    class TeacherConfig(Tagged):                  # the common fields
        name: str = "scripted"

    @dataclasses.dataclass
    class OctoSettings(TeacherConfig):            # those of one kind
        name: str = "octo"
        path: str = ""

    TeacherConfig.kinds["octo"] = OctoSettings    # or "package.module:OctoSettings", which is imported when needed

    TeacherConfig(name="octo", path="octo-nano")  # is an OctoSettings
    config.teacher.name = "octo"                  # becomes one: its own fields get their defaults

A field that only other kinds have is refused. Code that reads the common fields needs no cases.
"""

from __future__ import annotations

import dataclasses
import importlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from rpd_jax.config.validation import ConfigError, Settings, choice, field_types


def imported(reference: str) -> Any:
    """What "package.module:name" refers to: so registries name what is imported only when it is asked for."""
    module, _, name = reference.partition(":")
    return operator.attrgetter(name)(importlib.import_module(module))


class Tagged(Settings):
    """Base of the dataclass that declares the common fields, `name` among them with a default."""

    kinds: ClassVar[dict[str, type | str]]  # of each direct subclass: tag -> its dataclass, or where to import it from
    root: ClassVar[type[Tagged]]  # the dataclass that declares the common fields
    section: ClassVar[str]  # what the settings are called in messages, e.g. "teacher"

    def __init_subclass__(cls, section: str = "") -> None:
        super().__init_subclass__()
        if Tagged in cls.__bases__:
            cls.root, cls.kinds, cls.section = cls, {}, section

    def __new__(cls, name: Any = None, *others: Any, **fields: Any) -> Self:
        if cls is not cls.root:
            return object.__new__(cls)
        name = cls.__dataclass_fields__["name"].default if name is None else name
        kind = cls.kind_of(name)
        for each in set(fields) - set(kind.__dataclass_fields__):
            if owners := cls.owners(each):
                raise cls._foreign(each, name, owners)
        return object.__new__(kind)

    @classmethod
    def tag_of(cls, name: str) -> str:
        """Which kind a name means; the name itself, unless a subclass says otherwise."""
        return name

    @classmethod
    def kind_of(cls, name: Any) -> type[Self]:
        """The dataclass of a kind; that of the common fields where there is no such kind (`check_kind` refuses it)."""
        tag = cls.tag_of(name) if isinstance(name, str) else ""
        return cls._kind(tag) if tag in cls.kinds else cls.root  # type: ignore[return-value]

    @classmethod
    def owners(cls, field: str) -> list[str]:
        """The kinds that have a field."""
        return [tag for tag in cls.kinds if field in cls._kind(tag).__dataclass_fields__]

    @classmethod
    def every_field(cls) -> dict[str, Any]:
        """The fields of all kinds and their types."""
        kinds = (cls.root, *map(cls._kind, cls.kinds))
        return {name: annotation for kind in kinds for name, annotation in field_types(kind).items()}

    @classmethod
    def _kind(cls, tag: str) -> type[Self]:
        kind = cls.kinds[tag]
        if isinstance(kind, str):
            kind = cls.kinds[tag] = imported(kind)
        return kind

    @classmethod
    def check_name(cls, name: Any) -> None:
        """Raises ConfigError for a name of no known kind."""
        choice(f"{cls.section}.name", cls.tag_of(name) if isinstance(name, str) else name, cls.kinds)

    def check_kind(self) -> None:
        """Raises ConfigError where `name` is of no known kind."""
        self.check_name(self.name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "name":
            self._become(self.kind_of(value))
        elif name not in type(self).__dataclass_fields__ and (owners := self.owners(name)):
            raise self._foreign(name, self.name, owners)
        super().__setattr__(name, value)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Of a copy, which `__new__` may have made of the default kind."""
        self.__dict__.update(state)
        object.__setattr__(self, "__class__", self.kind_of(self.name))

    def _become(self, kind: type[Self]) -> None:
        if kind is type(self):
            return
        for name, field in type(self).__dataclass_fields__.items():
            # Of fields that both have, what was left at its default gets the other kind's.
            if name not in kind.__dataclass_fields__ or (name != "name" and self.__dict__.get(name) == field.default):
                self.__dict__.pop(name, None)
        object.__setattr__(self, "__class__", kind)
        for field in dataclasses.fields(kind):
            if field.name not in self.__dict__:
                make = field.default_factory
                object.__setattr__(self, field.name, field.default if make is dataclasses.MISSING else make())

    @classmethod
    def fields_of(cls, values: Mapping[str, Any]) -> tuple[type[Self], Mapping[str, Any]]:
        """The dataclass that a table of settings is for, and the entries that concern it.

        Configs of earlier versions listed the fields of all kinds: entries of other kinds are left out if they are at
        their defaults, or if no single kind has them all. Raises ConfigError for an unknown kind.
        """
        name = values.get("name", cls.__dataclass_fields__["name"].default)
        cls.check_name(name)
        kind = cls.kind_of(name)
        foreign = {each: its for each in values if each not in kind.__dataclass_fields__ and (its := cls.owners(each))}
        is_flat = bool(foreign) and not set.intersection(*map(set, foreign.values()))
        for each, owners in foreign.items():
            defaults = [cls._kind(tag).__dataclass_fields__[each].default for tag in owners]
            defaults += [list(default) for default in defaults if isinstance(default, tuple)]  # as JSON has it
            if not is_flat and values[each] not in defaults:
                raise cls._foreign(each, name, owners)
        return kind, {each: value for each, value in values.items() if each not in foreign}

    @classmethod
    def _foreign(cls, field: str, name: str, owners: Sequence[str]) -> ConfigError:
        return ConfigError(
            f"{cls.section}.{field} cannot work with {cls.section}.name={name!r}: "
            f"only {', '.join(owners)} have such a setting"
        )
