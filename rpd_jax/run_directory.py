"""The directory of a run: claimed once, never overwritten unless asked, every file written atomically."""

from __future__ import annotations

import shutil
from pathlib import Path

from rpd_jax.checkpoint import CONFIG_FILE, load_config
from rpd_jax.config import Config
from rpd_jax.output_directory import check_path, refuse_difference
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
