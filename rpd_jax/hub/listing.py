"""rpd_jax.json, the list of the files of a repository: what they are, their sizes and SHA-256.

A kind of repository holds files of certain names only. There is no code among them and nothing that is unpickled: such
files are neither pushed nor pulled, whatever a list says.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

import rpd_jax
from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.files import read_json

LISTING, CARD = "rpd_jax.json", "README.md"
FORMAT = 1
MISSING = -1  # in place of a size
_SHA256 = re.compile("[0-9a-f]{64}")
_OCDBT = r"(?:manifest\.ocdbt|d/[0-9a-f]+)"
_ARRAYS = rf"(?:_METADATA|_sharding|array_metadatas/process_[0-9]+|(?:ocdbt\.process_[0-9]+/)?{_OCDBT})"
_CHECKPOINT = rf"(?:digests\.json|_CHECKPOINT_METADATA|host/metadata|(?:params|train_state)/{_ARRAYS})"
_PLAIN = r"[A-Za-z0-9][A-Za-z0-9_.=-]*"  # of a file or folder in a recording


class Kind(NamedTuple):
    """A kind of repository."""

    what: str  # with an article
    repo_type: str  # as the hub calls it
    names: re.Pattern[str]  # of its files, whole


KINDS: Mapping[str, Kind] = {
    "student": Kind("a student", "model", re.compile(rf"config\.json|curves\.json|checkpoints/[0-9]+/{_CHECKPOINT}")),
    "export": Kind(
        "an exported student",
        "model",
        re.compile(
            r"student\.(?:json|onnx|stablehlo|mlir)|lerobot/policy/(?:model\.safetensors|README\.md|"
            r"(?:config|policy_preprocessor|policy_postprocessor)\.json)"
        ),
    ),
    "octo": Kind(
        "an Octo checkpoint",
        "model",
        re.compile(
            r"config\.json|example_batch\.msgpack|dataset_statistics\.json|tokenizer\.json|vocabulary\.json|"
            r"action_contract\.json|trained_on\.json|serving\.json|[0-9]+/default/checkpoint"
        ),
    ),
    "recording": Kind(
        "a recording",
        "dataset",
        re.compile(
            r"collection\.json|trajectory\.(?:h5|json)|dataset_statistics\.json|"
            rf"(?:data|meta|videos)/(?:{_PLAIN}/)*{_PLAIN}\.(?:json|jsonl|parquet|mp4)"
        ),
    ),
}


class Entry(NamedTuple):
    """One file."""

    size: int  # bytes
    sha256: str  # hexadecimal


@dataclasses.dataclass(frozen=True)
class Listing:
    """The content of rpd_jax.json. README.md is not in it: a card may be edited on the hub."""

    kind: str  # of KINDS
    files: Mapping[str, Entry]  # by name in the repository
    library_version: str = rpd_jax.__version__
    format: int = FORMAT

    @classmethod
    def of(cls, kind: str, files: Mapping[str, Path]) -> Listing:
        """Reads every file once; raises ConfigError for one that this kind of repository does not hold."""
        for name in files:
            if not may_hold(kind, name):
                raise ConfigError(f"{name!r} is no file of {KINDS[kind].what}: it will not be pushed")
        return cls(kind, {name: entry(path) for name, path in sorted(files.items())})

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.files.values())

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"files": {name: each._asdict() for name, each in self.files.items()}}


def may_hold(kind: str, name: str) -> bool:
    """Whether a kind of repository holds a file of this name."""
    return KINDS[kind].names.fullmatch(name) is not None


def entry(path: Path) -> Entry:
    """Of a file as it is now."""
    with path.open("rb") as file:
        return Entry(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def read_listing(path: Path, where: str) -> Listing:
    """The inverse of `to_json`.

    Args:
      path: of the file.
      where: what it was pulled from, for messages.

    Raises:
      ConfigError: it is damaged, of another format, or lists a file that its kind does not hold.
    """
    raw = read_json(path)
    if raw.get("format") != FORMAT:
        raise ConfigError(f"{where}: {LISTING} has format={short(raw.get('format'))}: this version reads {FORMAT}")
    kind, files = raw.get("kind"), raw.get("files")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{where}: {LISTING} has kind={short(kind)}: it must be one of {', '.join(KINDS)}")
    if not isinstance(files, dict) or not files:
        raise ConfigError(f"{where}: {LISTING} has files={short(files)}: it must list at least one")
    found = {}
    for name, each in files.items():
        if not may_hold(kind, name):
            raise ConfigError(f"{where}: {LISTING} lists {name!r}, which is no file of {KINDS[kind].what}")
        size, digest = (each.get(key) for key in Entry._fields) if isinstance(each, dict) else (None, None)
        if type(size) is not int or size < 0 or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ConfigError(f"{where}: {LISTING} says {short(each)} of {name!r}: it must be a size and a SHA-256")
        found[name] = Entry(size, digest)
    return Listing(kind, found, str(raw.get("library_version")))


def verify(directory: Path, listing: Listing, where: str) -> None:
    """Raises ConfigError for the first file of a directory that is not the one that was pushed."""
    for name, expected in listing.files.items():
        path = directory / name
        there = path.is_file() and not path.is_symlink()
        check_size(name, path.stat().st_size if there else MISSING, expected.size, where)
        if entry(path) != expected:
            raise ConfigError(f"{where}: {name} is not the file that was pushed: its SHA-256 differs")


def check_size(name: str, found: int | None, listed: int, where: str) -> None:
    """Raises ConfigError for a file that is `MISSING` or has another size, in bytes; None: its size is not known."""
    if found == MISSING:
        raise ConfigError(f"{where}: {name} is missing, which {LISTING} lists")
    if found not in (None, listed):
        raise ConfigError(
            f"{where}: {name} is not the file that was pushed: it has {found:,} bytes, and {LISTING} says {listed:,}"
        )
