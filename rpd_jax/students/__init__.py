"""Students that come with the library: "shipped:PickCube-v1" stands for a run.

Each folder is a run of one member, as `rpd-jax push` makes it. Its README.md says what the student sees, what its
actions mean, how it was trained and how often it succeeds. The folder is never written to.
"""

from __future__ import annotations

from pathlib import Path

from rpd_jax.config.validation import choice

PREFIX = "shipped:"


def shipped() -> list[str]:
    """Their names, those of tabletop's tasks."""
    return sorted(path.name for path in Path(__file__).parent.iterdir() if (path / "config.json").is_file())


def run_directory(run: Path | str) -> Path:
    """The directory of a run, or of the student that "shipped:NAME" names. Raises ConfigError for an unknown NAME."""
    if not str(run).startswith(PREFIX):
        return Path(run)
    name = str(run).removeprefix(PREFIX)
    choice("shipped student", name, shipped())
    return Path(__file__).parent / name


def results_directory(run: Path | str, name: str) -> Path:
    """Where results of a run are written by default: `name` within it, for a shipped student in runs/shipped."""
    return Path("runs", "shipped", run_directory(run).name, name) if str(run).startswith(PREFIX) else Path(run, name)
