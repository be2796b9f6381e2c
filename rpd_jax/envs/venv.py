"""Suites whose simulators need a virtual environment of their own, and the settings that these suites share."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.config.validation import setting


@dataclasses.dataclass
class VenvConfig(EnvConfig):
    """Beside the fields of `EnvConfig`."""

    python: str = ""  # interpreter of the simulators' virtual environment; empty: see `Venv.found`, or else this one
    processes: int | None = setting(None, low=1)  # simulator processes; None: one per CPU core
    deadline_seconds: float = setting(120.0, above=0)  # a simulator process that needs longer for a step is restarted


class Venv(NamedTuple):
    """Where the Makefile puts a suite's virtual environment."""

    title: str  # of the simulator, in messages
    folder: str
    target: str  # of the Makefile

    def found(self) -> str | None:
        """The interpreter that the Makefile's target made, here or where the library lies; None: there is none."""
        for directory in (Path.cwd(), Path(__file__).resolve().parents[2]):
            python = directory / self.folder / "bin" / "python"
            if python.exists():
                return str(python)
        return None

    def check(self, config: VenvConfig, cameras: Iterable[str]) -> None:
        """Raises ConfigError for an interpreter that is not there, and for a camera that is none of these."""
        if config.python and not os.access(config.python, os.X_OK):
            raise ConfigError(
                f"env.python={config.python!r} cannot work: no interpreter is there; `make {self.target}` makes "
                f"{self.folder}/bin/python, which is found without this setting"
            )
        known = list(cameras)
        for entry in config.entries:
            if entry.startswith("rgb_") and entry not in known:
                raise ConfigError(
                    f"env.observation={config.observation!r} cannot work: {self.title}'s cameras are {known}"
                )
