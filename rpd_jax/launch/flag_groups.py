"""Flags that come together: the fields of a dataclass; what both launchers of fine-tuning take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from absl import flags

from rpd_jax.config import ConfigError
from rpd_jax.config.validation import allowed, field_types, field_value
from rpd_jax.launch.comments import comments
from rpd_jax.launch.help import explained
from rpd_jax.launch.overrides import read

Fields = TypeVar("Fields")

flags.disclaim_key_flags()  # they belong to the launcher that asks for them: its --help lists them


def define_fields(defaults: Fields) -> Callable[[], Fields]:
    """Defines a flag --FIELD for each field of a flat dataclass, with the comment at the field as its help.

    Returns a function that gives, once the flags are parsed, the dataclass with their values.
    """
    cls, said = type(defaults), comments(type(defaults))
    given: dict[str, flags.FlagHolder[Any]] = {}
    for name, kind in field_types(cls).items():
        text = explained(said.get(name, ""), allowed(cls, name))
        flag = flags.Flag(_Field(cls, name), None, name, getattr(defaults, name), text, boolean=kind is bool)
        given[name] = flags.DEFINE_flag(flag)
    return lambda: cls(**{name: flag.value for name, flag in given.items()})


class _Field(flags.ArgumentParser):
    """What the field `name` of the dataclass `cls` takes, written as --config.FIELD takes it."""

    def __init__(self, cls: type, name: str) -> None:
        self._cls, self._name = cls, name

    def parse(self, argument: Any) -> Any:
        value = argument
        if isinstance(argument, str):
            value = read(argument, field_types(self._cls)[self._name], self._name)
        return field_value(self._cls, self._name, value)


class _BoolOrCount(flags.BooleanParser):
    """A switch that may have a number instead."""

    def parse(self, argument: str | int) -> bool | int:  # type: ignore[override]
        number = str(argument)
        if isinstance(argument, bool) or not number.isdecimal():
            return super().parse(argument)
        if int(number) == 0:
            raise ValueError("0 is no checkpoint: name one, or leave the number out")
        return int(number)


def define_resume(help_text: str, values: flags.FlagValues = flags.FLAGS) -> flags.FlagHolder[bool | int]:
    """Defines --resume, a switch that takes the iteration of a checkpoint too, --resume=40."""
    flag = flags.Flag(_BoolOrCount(), flags.ArgumentSerializer(), "resume", False, help_text, boolean=True)
    return flags.DEFINE_flag(flag, values)


class FinetuningFlags(NamedTuple):
    """Those of both launchers of fine-tuning, besides --checkpoint."""

    data: flags.FlagHolder[list[str]]
    output: flags.FlagHolder[str]
    resume: flags.FlagHolder[bool]
    overwrite: flags.FlagHolder[bool]

    def check(self) -> None:
        """Raises ConfigError where one is missing."""
        if not self.output.value:
            raise ConfigError("--output is missing: name the directory of the run")
        if not self.data.value:
            raise ConfigError("--data is missing: name a set of demonstrations, as rpd-jax collect makes")


def define_finetuning() -> FinetuningFlags:
    """Defines --data, --output, --resume and --overwrite."""
    return FinetuningFlags(
        flags.DEFINE_multi_string(
            "data", [], "Demonstrations: a .h5, or a directory of one, LeRobot or RLDS; several mix."
        ),
        flags.DEFINE_string("output", "", "Directory of the run."),
        flags.DEFINE_bool("resume", False, "Go on with the run in --output, if there is one."),
        flags.DEFINE_bool("overwrite", False, "Delete the run in --output first."),
    )
