"""Directories that programs write to: taken once, gone on with or overwritten only if asked. Needs no jax."""

from __future__ import annotations

from pathlib import Path

from rpd_jax.validation import ConfigError


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
