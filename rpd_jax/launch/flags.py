"""The flags that launchers share: --preset, --config.FIELD and --import."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import logging as stdlib_logging
import re
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging

from rpd_jax import runtime
from rpd_jax.config import Config, ConfigError, check_field
from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import alternatives, field_types, field_value, require
from rpd_jax.envs.base import SimulatorFailed
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.presets import PRESETS, get_preset
from rpd_jax.runs.checkpoint import CheckpointError
from rpd_jax.types import TeacherError

Settings = TypeVar("Settings")

flags.disclaim_key_flags()  # they belong to the launcher that asks for them: its --help lists them

OVERRIDE = re.compile(r"--?(?P<no>no)?config\.(?P<path>[^=]+)(=(?P<text>.*))?", re.DOTALL)
TRUTH = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
LONGEST_RANGE = 10_000
IMPORT = "import"


def define_config(default_preset: str) -> flags.FlagHolder[Config]:
    """Defines --preset and --config; fields of the preset can be set by --config.algorithm.learning_rate=1e-3."""
    flags.DEFINE_string("preset", default_preset, f"Starting point: {', '.join(PRESETS)}.")
    return _define_overrides(lambda arguments: requested_preset(arguments, default_preset), "env.num_envs=16")


def define_settings(defaults: Settings) -> flags.FlagHolder[Settings]:
    """Defines --config for a launcher that has a dataclass of settings of its own, with `defaults`."""
    return _define_overrides(lambda arguments: defaults, "seed=1")


def _define_overrides(start: Callable[[Sequence[str]], Settings], example: str) -> flags.FlagHolder[Settings]:
    """Takes the overrides out of the command line, which absl reads next; its --help says that there are some."""
    try:
        arguments = flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False)
        import_modules(values_of(IMPORT, arguments))
        settings = start(arguments)
        sys.argv[1:] = override(settings, arguments)
    except (ConfigError, flags.Error) as error:
        _refuse(error)
    if IMPORT not in flags.FLAGS:
        flags.DEFINE_multi_string(IMPORT, [], "Module of yours to import first, e.g. one that registers a teacher.")
    return flags.DEFINE(_Fields(), "config", settings, f"Any field, e.g. --config.{example}.")


def define_optional(name: str, text: str) -> flags.FlagHolder[bool | str | None]:
    """Defines a flag: None where it is not given, True as --NAME, False as --noNAME, or a text as --NAME=TEXT."""
    return flags.DEFINE_flag(flags.Flag(_TruthOrText(), None, name, None, text, boolean=True))


class _TruthOrText(flags.ArgumentParser):
    def parse(self, argument: Any) -> Any:
        return TRUTH.get(argument, argument) if isinstance(argument, str) else argument


class _Fields(flags.ArgumentParser):
    """Of --config itself, which takes no value."""

    def parse(self, argument: Any) -> Any:
        if isinstance(argument, str):
            raise ValueError("set its fields, --config.FIELD=VALUE")
        return argument


def requested_preset(arguments: Sequence[str], default: str) -> Config:
    """The preset that the command line names; it must be known before its fields can be set."""
    return get_preset([default, *values_of("preset", arguments)][-1])


def values_of(name: str, arguments: Sequence[str]) -> list[str]:
    """What the command line gives for a flag, before absl has read it."""
    found = []
    for flag, after in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        before, separator, value = flag.partition("=")
        if before in (f"--{name}", f"-{name}"):
            found.append(value if separator else after)
    return found


def import_modules(names: Sequence[str]) -> None:
    """Imports modules that register teachers and the like. Raises ConfigError for one that cannot be imported."""
    runtime.configure()  # they may start JAX
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(f"--{IMPORT}={name} cannot work: {error}") from error


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


def _refuse(error: Exception) -> NoReturn:
    """Ends the program as a mistake of the user does: one line, exit status 2."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def _parse(argv: Sequence[str]) -> Sequence[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(error)


class _OwnNews(stdlib_logging.Filter):
    """Drops what orbax and jax say about every file and backend, unless it is a warning."""

    def filter(self, record: stdlib_logging.LogRecord) -> bool:
        return record.levelno >= stdlib_logging.WARNING or not re.search(r"[/\\](orbax|jax)[/\\]", record.pathname)


def report(error: Exception, status: int) -> int:
    """Prints an error and its notes in one line, with flags for the library's arguments; returns `status`."""
    line = "; ".join([f"error: {error}", *getattr(error, "__notes__", [])])
    print(re.sub(r"\b(resume|overwrite)=True", r"--\1", line), file=sys.stderr)
    return status


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """`app.run` with progress in the log; what a user can mend is reported in one line.

    Exit status 2 for wrong arguments, 1 where a teacher or a simulator failed; -v=1 shows where.
    """
    runtime.configure()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_OwnNews())

    def guarded(argv: Sequence[str]) -> int | None:
        if len(argv) > 1:
            _refuse(ConfigError(f"unexpected arguments: {' '.join(argv[1:])}"))
        try:
            return main(argv)
        except (ConfigError, CheckpointError) as error:
            return report(error, 2)
        except (TeacherError, SidecarFailed, SimulatorFailed) as error:
            logging.debug("the failure", exc_info=error)
            return report(error, 1)

    app.run(guarded, flags_parser=_parse)
