"""The probe, and the installation against a pretended package manager."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from children import launch

from rpd_jax.launch import vulkan
from rpd_jax.launch.child import Failed, run_python
from rpd_jax.launch.vulkan import backports_entry, install

SOURCES = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n"
OLD, NEW = "22.3.6-1+deb12u2", "25.0.7-2~bpo12+1"


class Apt:
    """A machine's package manager: what it would install, and what it was asked."""

    def __init__(self, etc: Path, *, stable: str = OLD, backports: str | None = NEW, sudo: bool = True) -> None:
        self.etc, self.stable, self.backports, self.sudo = etc, stable, backports, sudo
        self.installed: list[str] = []
        self.commands: list[list[str]] = []

    @property
    def has_backports(self) -> bool:
        return any("backports" in p.read_text() for p in self.etc.glob("apt/sources.list.d/*"))

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = list(command)
        self.commands.append(command)
        if command[:2] == ["sudo", "-n"]:
            if not self.sudo:
                return subprocess.CompletedProcess(command, 1, "", "a password is required")
            command = command[2:]
        match command:
            case ["apt-get", "update"] if self.has_backports and self.backports is None:
                return subprocess.CompletedProcess(command, 100, "", "E: no Release file")
            case ["apt-cache", *options]:
                version = self.backports if "bookworm-backports" in options else self.stable
                return subprocess.CompletedProcess(command, 0, f"  Candidate: {version}\n", "")
            case ["env", _, "apt-get", "install", *rest]:
                self.installed = rest
            case ["install" | "rm", *_]:
                return subprocess.run(command, capture_output=True, text=True)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vulkan.shutil, "which", lambda name: f"/usr/bin/{name}")
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    (tmp_path / "apt" / "sources.list.d" / "debian.sources").write_text(SOURCES)
    release = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
    (tmp_path / "os-release").write_text(release)
    return tmp_path


def ours(etc: Path) -> Path:
    return etc / "apt" / "sources.list.d" / "rpd-jax-backports.sources"


def test_a_new_enough_mesa_is_installed_as_it_is(etc: Path) -> None:
    apt = Apt(etc, stable="25.2.8-0ubuntu0.24.04.1")
    install(apt, etc, root=True)
    assert apt.installed[-2:] == ["libvulkan1", "mesa-vulkan-drivers"]
    assert "-t" not in apt.installed
    assert "--no-install-recommends" in apt.installed
    assert not ours(etc).exists()


def test_debian_with_an_old_mesa_gets_backports_from_its_own_mirror(etc: Path) -> None:
    apt = Apt(etc)
    install(apt, etc, root=True)
    assert apt.installed[-4:] == ["-t", "bookworm-backports", "libvulkan1", "mesa-vulkan-drivers"]
    assert ours(etc).read_text() == SOURCES.replace("bookworm", "bookworm-backports")
    assert ours(etc).stat().st_mode & 0o777 == 0o644
    assert all(command[0] != "sudo" for command in apt.commands)


def test_backports_that_are_there_already_are_not_added_twice(etc: Path) -> None:
    theirs = etc / "apt" / "sources.list.d" / "backports.sources"
    theirs.write_text(SOURCES.replace("bookworm", "bookworm-backports"))
    apt = Apt(etc)
    install(apt, etc, root=True)
    assert "bookworm-backports" in apt.installed
    assert not ours(etc).exists()


def test_a_mirror_without_backports_is_named_and_left_as_it_was(etc: Path) -> None:
    with pytest.raises(Failed, match=r"bookworm-backports could not be read.*no Release file"):
        install(Apt(etc, backports=None), etc, root=True)
    assert not ours(etc).exists()


def test_backports_that_are_too_old_are_refused(etc: Path) -> None:
    with pytest.raises(Failed, match=r"offers Mesa 22\.3, and bookworm-backports nothing newer"):
        install(Apt(etc, backports="23.1.0-1~bpo"), etc, root=True)
    assert not ours(etc).exists()


def test_other_systems_are_told_what_they_offer(etc: Path) -> None:
    (etc / "os-release").write_text('ID=ubuntu\nPRETTY_NAME="Ubuntu 22.04"\nVERSION_CODENAME=jammy\n')
    with pytest.raises(Failed, match=r"Ubuntu 22\.04 offers Mesa 23\.2, and 24\.3 is needed"):
        install(Apt(etc, stable="23.2.1-1ubuntu3"), etc, root=True)


def test_sources_without_a_main_archive_are_an_error(etc: Path) -> None:
    (etc / "apt" / "sources.list.d" / "debian.sources").unlink()
    with pytest.raises(Failed, match="name no main archive"):
        install(Apt(etc), etc, root=True)


def test_a_user_with_sudo_installs_through_it(etc: Path) -> None:
    apt = Apt(etc)
    install(apt, etc, root=False)
    assert apt.installed
    assert all(command[:2] == ["sudo", "-n"] for command in apt.commands if command[0] != "apt-cache")


def test_a_user_without_sudo_is_told_so_before_anything_is_touched(etc: Path) -> None:
    apt = Apt(etc, sudo=False)
    with pytest.raises(Failed, match="needs root"):
        install(apt, etc, root=False)
    assert apt.commands == [["sudo", "-n", "true"]]


def test_a_system_without_apt_is_told_so(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulkan.shutil, "which", lambda name: None)
    with pytest.raises(Failed, match="no apt-get"):
        install(Apt(etc), etc, root=True)


DEB822 = """\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Architectures: amd64
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL
"""


def test_the_main_archives_entry_keeps_its_mirror_and_key() -> None:
    entry = backports_entry(".sources", DEB822, "bookworm-backports")
    kept = DEB822.split("\n\n")[1].strip()
    assert entry == kept.replace("bookworm bookworm-updates", "bookworm-backports")
    assert backports_entry(".sources", DEB822.lower(), "bookworm-backports") is not None
    assert backports_entry(".sources", DEB822, "trixie-backports") is None
    lines = (
        "# deb http://old.example/debian bookworm main\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb http://mirror.example/debian bookworm-updates main\n"
        "deb http://mirror.example/debian bookworm contrib\n"
        "deb cdrom:[Debian]/ bookworm main\n"
    )
    assert backports_entry(".list", lines, "bookworm-backports") is None
    for options in ("", "[arch=amd64 signed-by=/k.gpg] "):
        line = f"deb {options}http://mirror.example/debian bookworm contrib main # a comment\n"
        found = backports_entry(".list", lines + line, "bookworm-backports")
        assert found == f"deb {options}http://mirror.example/debian bookworm-backports contrib main"


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("Types: deb", "Types: deb-src"),
        ("Types: deb", "Enabled: no\nTypes: deb"),
        ("Components: main", "Components: contrib"),
        ("URIs: http://mirror.example/debian", "URIs: cdrom:[Debian]/"),
    ],
)
def test_entries_that_give_no_binaries_of_the_main_archive_do_not_count(line: str, instead: str) -> None:
    assert backports_entry(".sources", SOURCES, "bookworm-backports") is not None
    assert backports_entry(".sources", SOURCES.replace(line, instead), "bookworm-backports") is None


def test_a_line_of_the_one_line_format_becomes_another(etc: Path) -> None:
    (etc / "apt" / "sources.list.d" / "debian.sources").rename(etc / "apt" / "sources.list.d" / "debian.sources.bak")
    (etc / "apt" / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    install(Apt(etc), etc, root=True)
    written = ours(etc).with_suffix(".list").read_text()
    assert written == "deb http://mirror.example/debian bookworm-backports main\n"


@pytest.mark.vulkan
def test_the_probe_finds_the_device_that_the_simulator_needs() -> None:
    assert vulkan.probe()


def test_without_a_driver_the_probe_says_why_and_the_program_what_to_do() -> None:
    done = launch("vulkan", "--check", VK_DRIVER_FILES="/nonexistent.json", VK_ICD_FILENAMES="/nonexistent.json")
    assert done.returncode == 1
    assert "No usable Vulkan device" in done.stderr
    assert "mesa-vulkan-drivers 24.3 or newer" in done.stderr


def test_a_child_that_hangs_or_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match="no answer within 1 s"):
        run_python("import time; time.sleep(60)", timeout=1)
    with pytest.raises(Failed, match="exit status 1: ValueError: why"):
        run_python("raise ValueError('why')", timeout=60)
    with pytest.raises(Failed, match="exit status -6: no message"):
        run_python("import os; os.abort()", timeout=60)
