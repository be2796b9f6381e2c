"""Reads apt's package sources, in both of their formats, and derives an entry for another suite."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

# Options of the one-line format whose deb822 field has another name.
_FIELDS = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}
# Fields that describe the entry itself; the others (Signed-By, Architectures, ...) say how to fetch it.
_OWN_FIELDS = frozenset({"Types", "Uris", "Suites", "Components", "Enabled", "Description"})


@dataclasses.dataclass(frozen=True)
class Entry:
    """One source of binary packages; `options` are deb822 fields, values as they stand in the file."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()


def read(directory: Path) -> list[Entry]:
    """All enabled binary sources under `directory` (usually /etc/apt), in apt's order."""
    parts = directory / "sources.list.d"
    files = [directory / "sources.list", *(sorted(parts.iterdir()) if parts.is_dir() else [])]
    entries: list[Entry] = []
    for path in files:
        if path.suffix in (".list", ".sources") and path.is_file():
            parse = parse_one_line if path.suffix == ".list" else parse_deb822
            entries.extend(parse(path.read_text(errors="replace")))
    return entries


def parse_one_line(text: str) -> Iterator[Entry]:
    """Entries such as `deb [signed-by=KEY arch=amd64] URI bookworm main contrib`."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            options = dict(option.partition("=")[::2] for option in (match[1] or "").split())
            fields = {_FIELDS.get(k.lower(), k.title()): v.replace(",", " ") for k, v in options.items()}
            yield Entry(match[2], (match[3],), tuple(match[4].split()), tuple(fields.items()))


def parse_deb822(text: str) -> Iterator[Entry]:
    """Entries of `Field: value` lines, apart by empty lines; a value may go on in indented lines."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        found = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {name.title(): value.rstrip() for name, value in found}
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        options = tuple((k, v) for k, v in fields.items() if k not in _OWN_FIELDS and not k.startswith("X-"))
        for uri in fields.get("Uris", "").split():
            yield Entry(
                uri,
                tuple(fields.get("Suites", "").split()),
                tuple(fields.get("Components", "").split()),
                options,
            )


def derive(entries: Sequence[Entry], suite: str, wanted: str) -> str | None:
    """The deb822 text of suite `wanted` from the archive that serves `suite`'s main component, or None."""
    for entry in entries:
        if suite in entry.suites and "main" in entry.components and not entry.uri.startswith("cdrom:"):
            fields = {"Types": "deb", "URIs": entry.uri, "Suites": wanted, "Components": "main"}
            return "".join(f"{name}: {value}\n" for name, value in (*fields.items(), *entry.options))
    return None
