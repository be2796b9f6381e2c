"""The flags that launchers share (--preset, --config_file, --config.FIELD, --import), and how their programs run."""

from __future__ import annotations

import importlib
import itertools
import logging as stdlib_logging
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging

from rpd_jax import runtime
from rpd_jax.config import Config, ConfigError
from rpd_jax.config.validation import from_dict
from rpd_jax.envs.base import SimulatorFailed
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.launch import help
from rpd_jax.launch.overrides import TRUTH, override
from rpd_jax.launch.suggestions import suggestion
from rpd_jax.presets import get_preset
from rpd_jax.runs.checkpoint import CONFIG_FILE, CheckpointError
from rpd_jax.runs.files import read_json
from rpd_jax.students import run_directory
from rpd_jax.training import hosts
from rpd_jax.types import TeacherError

Settings = TypeVar("Settings")

flags.disclaim_key_flags()  # they belong to the launcher that asks for them: its --help lists them

IMPORT, FILE = "import", "config_file"


def define_config(default_preset: str) -> flags.FlagHolder[Config]:
    """Defines --preset, --config_file and --config; --config.algorithm.learning_rate=1e-3 sets a field of either."""
    flags.DEFINE_string("preset", default_preset, "What to begin from: one of the presets below.")
    return define_overrides(Config, lambda arguments: requested_preset(arguments, default_preset))


def define_settings(defaults: Settings) -> flags.FlagHolder[Settings]:
    """Defines --config_file and --config for a launcher with a dataclass of settings of its own, with `defaults`."""
    return define_overrides(type(defaults), lambda arguments: defaults)


def define_overrides(cls: type[Settings], start: Callable[[Sequence[str]], Settings]) -> flags.FlagHolder[Settings]:
    """Takes the overrides out of the command line, which absl reads next.

    `start` makes the settings that they begin from of the whole command line, where that names no file.
    """
    try:
        arguments = flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False)
        import_modules(values_of(IMPORT, arguments))
        files = values_of(FILE, arguments)
        if files and values_of("preset", arguments):
            raise ConfigError(f"--{FILE} cannot work with --preset: give one of them")
        settings = saved_settings(cls, files[-1]) if files else start(arguments)
        sys.argv[1:] = override(settings, arguments)
    except (ConfigError, flags.Error) as error:
        _refuse(error)
    if IMPORT not in flags.FLAGS:
        flags.DEFINE_multi_string(IMPORT, [], "Module of yours to import first, e.g. one that registers a teacher.")
    flags.DEFINE_string(FILE, "", "A file of saved settings to begin from, as the config.json of a run.")
    return flags.DEFINE(_Fields(), "config", settings, "Any field, --config.FIELD=VALUE.")


def saved_settings(cls: type[Settings], file: str) -> Settings:
    """Settings from a JSON file, or from the config.json of a run's directory or of "shipped:NAME".

    Raises ConfigError naming the file.
    """
    path = run_directory(file)
    path = path / CONFIG_FILE if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(f"--{FILE}={file} cannot work: it must be a file of settings, or the directory of a run")
    try:
        return from_dict(cls, read_json(path, ConfigError))
    except ConfigError as error:
        raise ConfigError(f"--{FILE}={file} cannot work: {error}") from error


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


def _refuse(error: Exception) -> NoReturn:
    """Ends the program as a mistake of the user does: one line, exit status 2."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)


def _parse(argv: Sequence[str]) -> Sequence[str]:
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        known = [name for name in flags.FLAGS if name != "config"]
        _refuse(ConfigError(suggestion(error.flagname, known, _settings())))
    except flags.Error as error:
        _refuse(error)


def _settings() -> Any:
    """Those of the program, as the command line has them, if it has any."""
    return flags.FLAGS["config"].default if "config" in flags.FLAGS else None


class _OwnNews(stdlib_logging.Filter):
    """Drops what orbax and jax say about every file and backend, unless it is a warning."""

    def filter(self, record: stdlib_logging.LogRecord) -> bool:
        return record.levelno >= stdlib_logging.WARNING or not re.search(r"[/\\](orbax|jax)[/\\]", record.pathname)


def report(error: Exception, status: int) -> int:
    """Prints an error and its notes in one line, with flags for the library's arguments; returns `status`."""
    line = "; ".join([f"error: {error}", *getattr(error, "__notes__", [])])
    print(re.sub(r"\b(resume|overwrite)=True", r"--\1", line), file=sys.stderr)
    return status


def run(main: Callable[[Sequence[str]], int | None], *, takes_words: bool = False) -> None:
    """`app.run` with progress in the log; what a user can mend is reported in one line.

    Exit status 2 for wrong arguments, 1 where a teacher or a simulator failed; -v=1 shows where. `takes_words`: also
    arguments that are no flags.
    """
    if help.asked(sys.argv[1:]):
        help.show(help.text(_settings()))
        return
    runtime.configure()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_OwnNews())

    def guarded(argv: Sequence[str]) -> int | None:
        if len(argv) > 1 and not takes_words:
            _refuse(ConfigError(f"unexpected arguments: {' '.join(argv[1:])}"))
        try:
            return main(argv)
        except (ConfigError, CheckpointError) as error:
            status = report(error, 2)
        except (TeacherError, SidecarFailed, SimulatorFailed, hosts.HostsFailed) as error:
            logging.debug("the failure", exc_info=error)
            status = report(error, 1)
        except Exception as error:
            if not hosts.is_joined():
                raise
            traceback.print_exception(error)
            status = 1
        if hosts.is_joined():
            hosts.leave(status)
        return status

    app.run(guarded, flags_parser=_parse)
