"""Looks for a Vulkan device that the simulator accepts, and installs Mesa's software driver.

ManiSkill needs Vulkan even where it draws nothing. Mesa's lavapipe, which runs on the processor, will do from
release 24.3 on: earlier ones lack the external-memory extensions.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from launch import apt_sources

MIN_MESA = (24, 3)
PACKAGES = ("libvulkan1", "mesa-vulkan-drivers")

WHAT_TO_INSTALL = """\
ManiSkill needs a Vulkan device even where it draws nothing. Install one of these:
  - Debian and Ubuntu: libvulkan1 and mesa-vulkan-drivers 24.3 or newer
    (Debian 12: from bookworm-backports; Ubuntu 24.04: from its updates);
  - anywhere, without root: mesa-lavapipe and libvulkan-loader from conda-forge, with
    VK_DRIVER_FILES naming the lvp_icd*.json file that the first one brings.
Then `python -m launch.vulkan --check` should say which device it found."""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a child process found: `problem` is empty where a device is usable."""

    devices: tuple[tuple[str, str], ...]  # (name, driver and its version) of every Vulkan device
    problem: str

    def __str__(self) -> str:
        return "; ".join(f"{name}, {driver}" for name, driver in self.devices)


class SetupError(Exception):
    """The driver is missing and cannot be installed from here; the message says why."""


def probe(timeout: float = 60.0) -> Probe:
    """Makes a renderer in a child process, which may crash or hang without harm; `timeout` in seconds."""
    command = [sys.executable, "-m", "launch.vulkan_probe"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=_root())
    except subprocess.TimeoutExpired:
        return Probe((), f"the renderer did not start within {timeout:.0f} s")
    try:
        answer = json.loads(child.stdout.splitlines()[-1])
        devices = tuple((device["name"], device["driver"]) for device in answer["devices"])
        return Probe(devices, answer["problem"])
    except (IndexError, ValueError, KeyError):
        last = (child.stderr.strip().splitlines() or [""])[-1]
        return Probe((), f"the renderer's process ended with code {child.returncode}: {last}")


def _root() -> Path:
    return Path(__file__).resolve().parent.parent


def install(run: Run, etc: Path = Path("/etc"), *, root: bool | None = None) -> None:
    """Installs the loader and lavapipe from the machine's own package sources.

    Args:
      run: runs a command and returns its result, output as text.
      etc: the directory that holds os-release and apt/.
      root: whether this process may install; None asks the system.

    Raises:
      SetupError: where that is not possible.
    """
    if shutil.which("apt-get") is None:
        raise SetupError("this system has no apt-get")
    system = _os_release(etc)
    prefix = _privilege(run, os.geteuid() == 0 if root is None else root)
    _checked(run, [*prefix, "apt-get", "update"], "the package lists could not be read")
    version = _candidate(run)
    if version is not None and version >= MIN_MESA:
        _apt_install(run, prefix, PACKAGES)
        return
    found = "no Mesa" if version is None else f"Mesa {version[0]}.{version[1]}"
    name = system.get("PRETTY_NAME", "this system")
    if system.get("ID") != "debian":
        raise SetupError(f"{name} offers {found} only")
    suite = f"{system.get('VERSION_CODENAME', '')}-backports"
    ours = _add_backports(run, prefix, etc, suite, f"{name} offers {found}")
    try:
        _checked(run, [*prefix, "apt-get", "update"], f"{suite} could not be read: the mirror may not carry it")
        if (_candidate(run, suite) or (0, 0)) < MIN_MESA:
            raise SetupError(f"{name} offers {found}, and {suite} nothing newer that will do")
        _apt_install(run, prefix, PACKAGES, "-t", suite)
    except SetupError:
        if ours is not None:  # leave no source behind that breaks the next update
            run([*prefix, "rm", "-f", str(ours)])
        raise


def _os_release(etc: Path) -> dict[str, str]:
    try:
        lines = (etc / "os-release").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines) if value}


def _privilege(run: Run, root: bool) -> list[str]:
    if root:
        return []
    if shutil.which("sudo") is not None and run(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n"]
    raise SetupError("installing packages needs root, and sudo would ask for a password")


def _candidate(run: Run, suite: str | None = None) -> tuple[int, int] | None:
    """(major, minor) of the driver that apt would install, or None."""
    target = [] if suite is None else ["-t", suite]
    policy = run(["apt-cache", *target, "policy", "mesa-vulkan-drivers"]).stdout
    match = re.search(r"Candidate: (?:\d+:)?(\d+)\.(\d+)", policy)
    return (int(match[1]), int(match[2])) if match else None


def _add_backports(run: Run, prefix: list[str], etc: Path, suite: str, offer: str) -> Path | None:
    """Adds the backports suite unless the sources name it already; returns the file written, or None."""
    entries = apt_sources.read(etc / "apt")
    if any(suite in entry.suites for entry in entries):
        return None
    text = apt_sources.derive(entries, suite.removesuffix("-backports"), suite)
    if text is None:
        raise SetupError(f"{offer}, and the sources name no main archive to take {suite} from")
    path = etc / "apt" / "sources.list.d" / "rpd-jax-backports.sources"
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / path.name
        draft.write_text(text)
        staged = f"{path}.tmp"  # apt reads names that end in .list and .sources only
        _checked(run, [*prefix, "install", "-m", "644", str(draft), staged], f"{staged} could not be written")
    _checked(run, [*prefix, "mv", staged, str(path)], f"{path} could not be written")
    return path


def _apt_install(run: Run, prefix: list[str], packages: Sequence[str], *options: str) -> None:
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y"]
    command += ["--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", *options, *packages]
    _checked(run, command, f"{' and '.join(packages)} could not be installed")


def _checked(run: Run, command: Sequence[str], complaint: str) -> None:
    result = run(command)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"{complaint} ({last})")


def run_aloud(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Says what it runs."""
    print("+", *command, flush=True)
    return subprocess.run(command, capture_output=True, text=True)
