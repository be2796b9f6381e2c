"""What a mistyped flag was probably meant to be."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any


def suggestion(flag: str, known: Sequence[str], settings: Any = None) -> str:
    """One line for an unknown flag, with what it was probably meant to be.

    Args:
      flag: its name without dashes, "seeds" or "algorithm.gamma".
      known: names of the program's own flags.
      settings: the dataclass that --config.FIELD sets fields of, if there is one.
    """
    paths = [f"config.{path}" for path in _paths(settings)] if settings is not None else []
    last = flag.rpartition(".")[2]
    meant = [path for path in paths if path == f"config.{flag}"]
    meant = meant or [path for path in paths if path.rpartition(".")[2] == last]
    if not meant:
        short = {path.rpartition(".")[2]: path for path in reversed(paths)} | {name: name for name in known}
        meant = [short[each] for each in difflib.get_close_matches(last, short, 2)]
    hint = f": did you mean {' or '.join(f'--{each}' for each in meant[:3])}?" if meant else ", see --help"
    return f"Unknown command line flag {flag!r}{hint}"


def _paths(settings: Any) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from (f"{field.name}.{path}" for path in _paths(value))
        else:
            yield field.name
