"""What is to be pushed: the files of a path, by what they are, and what its card says."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rpd_jax.config.validation import ConfigError
from rpd_jax.hub.card import Card

_MACHINE_PATH = re.compile(r"(?:~|(?:/[^/\s]+){2,})/?[^\s]*")
_READ = 4 << 20  # bytes of a JSON file that is searched


class Choice(NamedTuple):
    """Which of several things a path holds."""

    variant: str = ""  # of a run; empty: the only one
    seed: int | None = None  # of a run; None: the only one
    iteration: int | None = None  # of a run, or the step of an Octo checkpoint; None: the newest

    def refuse(self, what: str, *fields: str) -> None:
        """Raises ConfigError where one of these fields is chosen, of which `what` has no choice."""
        for field in fields:
            if getattr(self, field) not in ("", None):
                raise ConfigError(f"{field}={getattr(self, field)!r} cannot work: {what}, which leaves no choice")


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Files that were found complete and sound.

    Attributes:
      kind: of `listing.KINDS`.
      name: in a few words, e.g. "rpd-mse, seed 0, of tabletop:PickCube-v1".
      files: by name in the repository.
      card: what README.md says.
      remarks: what a user should know before the upload, a line each.
    """

    kind: str
    name: str
    files: Mapping[str, Path]
    card: Card
    remarks: tuple[str, ...] = ()


Maker = Callable[[Path, Choice, Path], Bundle | None]
"""(path, choice, an empty directory for files that have to be made) -> its bundle; None: the path is something else.

Raises ConfigError or CheckpointError where it is of this kind, but damaged, or the choice cannot work.
"""


def recognise(path: str, makers: Sequence[Maker], choice: Choice, scratch: Path) -> Bundle:
    """What the path holds; raises ConfigError where it is nothing that can be pushed, or as the makers do."""
    if not path:
        raise ConfigError("path is missing: name a run, an export, a recording or an Octo checkpoint")
    for make in makers:
        bundle = make(Path(path), choice, scratch)
        if bundle is not None:
            return bundle
    what = "is nothing that can be pushed" if Path(path).exists() else "does not exist"
    raise ConfigError(
        f"path={path!r} {what}: name the directory of a run, an export, a recording or an Octo checkpoint"
    )


def machine_paths(files: Mapping[str, Path]) -> list[str]:
    """A line for each JSON file that names a path of this machine, which would be published with it.

    Raises ConfigError for one that is damaged.
    """
    found = []
    for name, path in files.items():
        if path.suffix == ".json" and path.stat().st_size <= _READ:
            try:
                content = json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"{path} is damaged, it is not JSON: {error}") from error
            named = next((text for text in _texts(content) if _MACHINE_PATH.fullmatch(text)), None)
            if named:
                found.append(f"{name} names a path of this machine, {named!r}: everybody who may read it will see that")
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)
