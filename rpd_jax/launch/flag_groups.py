"""Flags that come together: the fields of a dataclass; what both launchers of fine-tuning take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from absl import flags

from rpd_jax.config import ConfigError

Fields = TypeVar("Fields")

flags.disclaim_key_flags()  # they belong to the launcher that asks for them: its --help lists them


def define_fields(defaults: Fields, help_of: Mapping[str, str]) -> Callable[[], Fields]:
    """Defines a flag --FIELD for each field of a flat dataclass, of the type of its default.

    Returns a function that gives, once the flags are parsed, the dataclass with their values.
    """
    define: dict[type, Callable[..., flags.FlagHolder[Any]]] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        tuple: flags.DEFINE_list,
    }
    given: dict[str, flags.FlagHolder[Any]] = {}
    for field in dataclasses.fields(defaults):  # type: ignore[arg-type]  # a dataclass
        default = getattr(defaults, field.name)
        given[field.name] = define[type(default)](field.name, default, help_of[field.name])
    return lambda: type(defaults)(**{name: flag.value for name, flag in given.items()})


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
            raise ConfigError("--data is missing: name a set of demonstrations, as launch.collect makes")


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
