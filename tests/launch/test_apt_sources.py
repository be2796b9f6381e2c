"""Package sources in both formats, and the entry derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.apt_sources import Entry, derive, parse_deb822, parse_one_line, read

# The hosts are examples (RFC 2606).
DEB822 = """\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""

EMBEDDED_KEY = """\
types: deb
uris: https://mirror.example/debian
suites: trixie
components: main
architectures: amd64
x-repolib-name: whatever
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_deb822_entry_gives_its_archive_and_key() -> None:
    entries = list(parse_deb822(DEB822))
    assert [entry.suites for entry in entries] == [("bookworm", "bookworm-updates"), ("bookworm-security",)]
    assert derive(entries, "bookworm", "bookworm-backports") == (
        "Types: deb\n"
        "URIs: http://mirror.example/debian\n"
        "Suites: bookworm-backports\n"
        "Components: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def test_embedded_keys_and_architectures_are_kept_whole() -> None:
    text = derive(list(parse_deb822(EMBEDDED_KEY)), "trixie", "trixie-backports")
    assert text is not None
    assert "Architectures: amd64\n" in text
    assert text.endswith(EMBEDDED_KEY[EMBEDDED_KEY.index("\n -----BEGIN") :])
    assert "whatever" not in text
    (again,) = parse_deb822(text)  # what was written can be read
    assert again.suites == ("trixie-backports",)


def test_one_line_entries_give_their_options_as_fields() -> None:
    text = (
        "deb [arch=amd64,arm64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "# deb http://old.example/debian bookworm main\n"
        "deb http://mirror.example/debian bookworm-updates main contrib # a comment\n"
    )
    entries = list(parse_one_line(text))
    assert entries == [
        Entry(
            "http://mirror.example/debian",
            ("bookworm",),
            ("main",),
            (("Architectures", "amd64 arm64"), ("Signed-By", "/k.gpg")),
        ),
        Entry("http://mirror.example/debian", ("bookworm-updates",), ("main", "contrib")),
    ]


@pytest.mark.parametrize("field", ["Enabled: no", "Types: deb-src"])
def test_disabled_and_source_entries_do_not_count(field: str) -> None:
    name = field.split(":")[0]
    lines = [line for line in DEB822.splitlines() if not line.startswith(name)]
    text = "\n".join(f"{field}\n{line}" if line.startswith("URIs") else line for line in lines)
    assert list(parse_deb822(text)) == []


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [Entry("http://mirror.example/debian", ("bookworm",), ("contrib",))],
        [Entry("http://mirror.example/debian", ("bookworm-security",), ("main",))],
        [Entry("cdrom:[Debian]/", ("bookworm",), ("main",))],
    ],
    ids=["none", "no main", "another suite", "a disc"],
)
def test_without_a_main_archive_nothing_is_derived(entries: list[Entry]) -> None:
    assert derive(entries, "bookworm", "bookworm-backports") is None


def test_read_takes_both_formats_and_leaves_other_files_alone(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (parts / "b.sources").write_text(DEB822)
    (parts / "c.list").write_text("deb http://c.example/debian bookworm main\n")
    (parts / "d.sources.disabled").write_text(DEB822)
    assert [entry.uri for entry in read(tmp_path)] == [
        "http://a.example/debian",
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
        "http://c.example/debian",
    ]


def test_a_system_without_sources_has_none(tmp_path: Path) -> None:
    assert read(tmp_path) == []
