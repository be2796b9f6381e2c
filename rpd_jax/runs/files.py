"""Files that appear whole or not at all, and JSON that was written by others. Needs no jax."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rpd_jax.config.validation import ConfigError

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.\w+)?")


def temporary_beside(path: Path) -> Path:
    """A hidden name in the directory of `path`, which `original_name` recognises."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")


def original_name(name: str) -> str | None:
    """The name of the file or directory that a name of `temporary_beside` stood for; None for other names."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] + (found[2] or "") if found else None


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which replaces it when the block ends well."""
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    """Writes readable, strict JSON atomically; raises ValueError for NaN and infinities."""
    text = json.dumps(value, indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: Path | str, error: type[ValueError] = ConfigError) -> dict[str, Any]:
    """Reads a JSON object; raises `error`, one line that names the file, if it is missing, damaged or another value."""
    value = _read(path, error)
    if not isinstance(value, dict):
        raise error(f"{path} is damaged: it holds a {type(value).__name__}, and must hold a JSON object")
    return value


def read_list(path: Path | str, error: type[ValueError] = ConfigError) -> list[Any]:
    """As `read_json`, of a JSON list."""
    value = _read(path, error)
    if not isinstance(value, list):
        raise error(f"{path} is damaged: it holds a {type(value).__name__}, and must hold a JSON list")
    return value


def _read(path: Path | str, error: type[ValueError]) -> Any:
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise error(f"{path} is missing") from None
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror}") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is damaged, it is not JSON: {problem}") from problem
