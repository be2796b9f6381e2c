"""The flags that launchers share: --preset and --config.FIELD."""

from __future__ import annotations

import logging as stdlib_logging
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

from rpd_jax.checkpoint import CheckpointError
from rpd_jax.config import Config, ConfigError, check_field
from rpd_jax.envs.base import SimulatorFailed
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.presets import PRESETS, get_preset
from rpd_jax.types import TeacherError

Settings = TypeVar("Settings")


def define_config(default_preset: str) -> flags.FlagHolder[Config]:
    """Defines --preset and --config; fields of the preset can be set by --config.ppo.learning_rate=1e-3."""
    flags.DEFINE_string("preset", default_preset, f"Starting point: {', '.join(PRESETS)}.")
    try:
        preset = requested_preset(sys.argv, default_preset)
        check_overrides(sys.argv)
        sys.argv[1:] = quote_variants(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"{error}")
    return config_flags.DEFINE_config_dataclass("config", preset, "Any field, e.g. --config.env.num_envs=16.")


def define_settings(defaults: Settings) -> flags.FlagHolder[Settings]:
    """Defines --config for a launcher that has a dataclass of settings of its own, with `defaults`."""
    try:
        check_overrides(sys.argv, type(defaults))
    except ConfigError as error:
        sys.exit(f"{error}")
    return config_flags.DEFINE_config_dataclass("config", defaults, "Any field, e.g. --config.seed=1.")


def requested_preset(argv: Sequence[str], default: str) -> Config:
    """The preset that the command line names; it must be known before --config can be defined."""
    name = default
    for position, argument in enumerate(argv):
        flag, separator, value = argument.partition("=")
        if flag in ("--preset", "-preset"):
            name = value if separator else argv[position + 1] if position + 1 < len(argv) else ""
    return get_preset(name)


def check_overrides(argv: Sequence[str], cls: Any = Config) -> None:
    """Raises ConfigError for a --config.FIELD that the dataclass `cls` does not have."""
    for argument in argv[1:]:
        name = argument.split("=", 1)[0].lstrip("-")
        for prefix in ("config.", "noconfig."):
            if argument.startswith("-") and name.startswith(prefix):
                check_field(name.removeprefix(prefix), cls)


def quote_variants(arguments: Sequence[str]) -> list[str]:
    """Turns --config.variants=a,b:mse=5 into the Python tuple that the flag's parser wants."""
    flag = "--config.variants="
    return [
        flag + repr(tuple(argument.removeprefix(flag).split(",")))
        if argument.startswith(flag) and argument[len(flag) :][:1] not in ("(", "[", "'", '"')
        else argument
        for argument in arguments
    ]


class _OwnNews(stdlib_logging.Filter):
    """Drops what orbax and jax say about every file and backend, unless it is a warning."""

    def filter(self, record: stdlib_logging.LogRecord) -> bool:
        return record.levelno >= stdlib_logging.WARNING or not re.search(r"[/\\](orbax|jax)[/\\]", record.pathname)


def report(error: Exception, status: int) -> int:
    """Prints an error and its notes in one line; returns `status`."""
    print("; ".join([f"error: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
    return status


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """`app.run` with progress in the log; what a user can mend is reported in one line.

    Exit status 2 for wrong arguments, 1 where a teacher or a simulator failed; -v=1 shows where.
    """
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_OwnNews())

    def guarded(argv: Sequence[str]) -> int | None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        try:
            return main(argv)
        except (ConfigError, CheckpointError) as error:
            return report(error, 2)
        except (TeacherError, SidecarFailed, SimulatorFailed) as error:
            logging.debug("the failure", exc_info=error)
            return report(error, 1)

    app.run(guarded)
