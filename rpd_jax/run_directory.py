"""The directory of a run: claimed once, never overwritten unless asked, every file written atomically."""

from __future__ import annotations

import shutil
from pathlib import Path

from rpd_jax.checkpoint import CONFIG_FILE, load_config
from rpd_jax.config import Config, ConfigError
from rpd_jax.report.files import atomic_path

MAY_CHANGE = ("preset", "run", "eval")
"""Parts of the config that a resumed run may set anew; `ppo.total_steps` may change too."""


def check(config: Config, resume: bool, overwrite: bool) -> None:
    """Raises ConfigError where `claim` would; touches nothing.

    That is: the directory exists and neither `resume` nor `overwrite` is set, both are set, it is to be resumed
    with another experiment's configuration, or what is to be overwritten is not a run.
    """
    path = Path(config.run.directory)
    if check_path(path, CONFIG_FILE, "run.directory", resume, overwrite):
        _check_same_experiment(load_config(path), config)


def check_path(path: Path, file: str, field: str, resume: bool, overwrite: bool) -> bool:
    """Whether `path` holds a run that is to be resumed; raises ConfigError where it must not be written to.

    Args:
      path: the directory.
      file: name of the file that every run of this kind has.
      field: what the directory is called in messages.
      resume: whether a run there may be gone on with.
      overwrite: whether a run there may be deleted.
    """
    is_run = (path / file).is_file()
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other: choose one")
    if is_run and resume:
        return True
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{field}={str(path)!r} is a file: choose another path")
    if path.exists() and any(path.iterdir()):
        if not overwrite:
            raise ConfigError(
                f"{field}={str(path)!r} exists and is not empty: use --resume, --overwrite or another path"
            )
        if not is_run:
            raise ConfigError(f"{field}={str(path)!r} will not be overwritten: it is not a run (it has no {file})")
    return False


def claim(config: Config, resume: bool, overwrite: bool) -> Path:
    """Creates the run directory, empty unless it is resumed, and writes the resolved config into it.

    Raises ConfigError as `check` does.
    """
    check(config, resume, overwrite)
    path = Path(config.run.directory)
    if overwrite and path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    with atomic_path(path / CONFIG_FILE) as temporary:
        temporary.write_text(config.to_json() + "\n")
    return path


def _check_same_experiment(stored: Config, given: Config) -> None:
    before, now = stored.to_dict(), given.to_dict()
    for settings in (before, now):
        for part in MAY_CHANGE:
            settings.pop(part)
        settings["ppo"].pop("total_steps")
    refuse_difference(before, now, "run.directory")


def refuse_difference(before: object, now: object, directory: str) -> None:
    """Raises ConfigError for the first setting that a run to resume has otherwise; `directory` is its place's name."""
    difference = _first_difference(before, now, "")
    if difference:
        field, was, is_now = difference
        raise ConfigError(
            f"{field}={is_now!r} cannot work: the run to resume has {was!r}; start another with its own {directory}"
        )


def _first_difference(before: object, now: object, path: str) -> tuple[str, object, object] | None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before:
            found = _first_difference(before[key], now[key], f"{path}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if before == now else (path, before, now)
