"""Finds a Vulkan device that the simulator accepts, and installs Mesa's software driver where there is none.

  python -m launch.vulkan            # looks, and installs where it can (Debian and Ubuntu, root or sudo)
  python -m launch.vulkan --check    # only looks

ManiSkill needs Vulkan even where it draws nothing. Mesa's lavapipe, which runs on the processor, will do from
release 24.3 on: earlier ones lack the external-memory extensions. Exit status 1 where there is no device in the end.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rpd_jax.config.extras import unavailable
from rpd_jax.launch import program
from rpd_jax.launch.child import Failed, run_python

MIN_MESA = (24, 3)
PACKAGES = ("libvulkan1", "mesa-vulkan-drivers")

WHAT_TO_INSTALL = """\
ManiSkill needs a Vulkan device even where it draws nothing. Install one of these:
  - Debian and Ubuntu: libvulkan1 and mesa-vulkan-drivers 24.3 or newer
    (Debian 12: from bookworm-backports; Ubuntu 24.04: from its updates);
  - anywhere, without root: mesa-lavapipe and libvulkan-loader from conda-forge, with
    VK_DRIVER_FILES naming the lvp_icd*.json file that the first one brings.
Then `rpd-jax vulkan --check` should say which device it found."""

# What every scene of the simulator's workers makes.
RENDERER = """
import re, sapien
sapien.render.RenderSystem(sapien.Device("cpu"))
sapien.render.RenderMaterial()
print("; ".join(re.findall("GPU: (.*)", sapien.render.get_device_summary())))
"""

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def probe(timeout: float = 60.0) -> str:
    """The names of the Vulkan devices that the simulator's renderer finds; raises Failed if it cannot start.

    It is made in a child process, since a driver may abort or hang the process that it is in.
    """
    return run_python(RENDERER, timeout)


def install(run: Run, etc: Path = Path("/etc"), *, root: bool | None = None) -> None:
    """Installs the loader and lavapipe from the machine's own package sources.

    Args:
      run: runs a command and returns its result, output as text.
      etc: the directory that holds os-release and apt/.
      root: whether this process may install; None asks the system.

    Raises:
      Failed: where that is not possible.
    """
    if shutil.which("apt-get") is None:
        raise Failed("this system has no apt-get")
    prefix = _privilege(run, os.geteuid() == 0 if root is None else root)
    _checked(run, [*prefix, "apt-get", "update"], "the package lists could not be read")
    version = _candidate(run)
    if version >= MIN_MESA:
        return _apt_install(run, prefix)
    system = _os_release(etc)
    offer = f"{system.get('PRETTY_NAME', 'this system')} offers Mesa {'.'.join(map(str, version)) or 'not at all'}"
    if system.get("ID") != "debian":
        raise Failed(f"{offer}, and 24.3 is needed")
    suite = f"{system.get('VERSION_CODENAME', '')}-backports"
    ours = _add_backports(run, prefix, etc / "apt", suite, offer)
    try:
        _checked(run, [*prefix, "apt-get", "update"], f"{suite} could not be read: the mirror may not carry it")
        if _candidate(run, "-t", suite) < MIN_MESA:
            raise Failed(f"{offer}, and {suite} nothing newer that will do")
        _apt_install(run, prefix, "-t", suite)
    except Failed:
        if ours is not None:  # leave no source behind that breaks the next update
            run([*prefix, "rm", "-f", str(ours)])
        raise


def _os_release(etc: Path) -> dict[str, str]:
    path = etc / "os-release"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines) if value}


def _privilege(run: Run, root: bool) -> list[str]:
    if root:
        return []
    if shutil.which("sudo") is not None and run(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n"]
    raise Failed("installing packages needs root, and sudo would ask for a password")


def _candidate(run: Run, *options: str) -> tuple[int, ...]:
    """(major, minor) of the driver that apt would install, or nothing."""
    policy = run(["apt-cache", *options, "policy", "mesa-vulkan-drivers"]).stdout
    match = re.search(r"Candidate: (?:\d+:)?(\d+)\.(\d+)", policy)
    return (int(match[1]), int(match[2])) if match else ()


def _add_backports(run: Run, prefix: list[str], apt: Path, suite: str, offer: str) -> Path | None:
    """Adds the backports suite, unless the sources name it already; returns the file written, or None."""
    sources = [*apt.glob("sources.list"), *sorted((apt / "sources.list.d").glob("*"))]
    texts = {path: path.read_text(errors="replace") for path in sources if path.suffix in (".list", ".sources")}
    if any(re.search(rf"(?m)^[^#\n]*\s{suite}(\s|$)", text) for text in texts.values()):
        return None
    found = ((path.suffix, backports_entry(path.suffix, text, suite)) for path, text in texts.items())
    suffix, entry = next(((suffix, entry) for suffix, entry in found if entry), ("", None))
    if entry is None:
        raise Failed(f"{offer}, and the sources name no main archive to take {suite} from")
    path = apt / "sources.list.d" / f"rpd-jax-backports{suffix}"
    with tempfile.NamedTemporaryFile("w", prefix="rpd-jax-") as draft:
        draft.write(entry + "\n")
        draft.flush()
        _checked(run, [*prefix, "install", "-m", "644", draft.name, str(path)], f"{path} could not be written")
    return path


def backports_entry(suffix: str, text: str, suite: str) -> str | None:
    """The entry of a release's main archive in a file of package sources, as it stands but for the suite.

    So mirror, keys and other options stay what they are. `suffix`: of the file's name, which tells apt's two formats
    apart; `suite`: e.g. "bookworm-backports".
    """
    release = suite.removesuffix("-backports")
    if suffix == ".list":
        archive = r"[ \t]*deb\s+(?:\[[^]]*\]\s+)?(?!cdrom:)\S+\s+"
        found = re.search(rf"(?m)^({archive}){release}([ \t](?:[^#\n]*[ \t])?main\b[^#\n]*)", text)
        return f"{found[1]}{suite}{found[2]}".strip() if found else None
    wanted = (r"types:.*\sdeb(\s|$)", rf"suites:(.*\s)?{release}(\s|$)", r"components:(.*\s)?main(\s|$)")
    disabled = r"(?im)^(enabled:\s*(no|false)|uris:\s*cdrom:)"
    for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n", "", text)):
        if all(re.search(f"(?im)^{line}", stanza) for line in wanted) and not re.search(disabled, stanza):
            return re.sub(r"(?im)^suites:.*", f"Suites: {suite}", stanza).strip()
    return None


def _apt_install(run: Run, prefix: list[str], *options: str) -> None:
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y"]
    command += ["--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", *options, *PACKAGES]
    _checked(run, command, f"{' and '.join(PACKAGES)} could not be installed")


def _checked(run: Run, command: Sequence[str], complaint: str) -> None:
    result = run(command)
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failed(f"{complaint} ({last})")


def _run_aloud(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    print("+", *command, flush=True)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(program.name(), description="Finds or installs a Vulkan device.")
    parser.add_argument("--check", action="store_true", help="only look, install nothing")
    check = parser.parse_args().check
    if why := unavailable("maniskill"):
        print(f"Nothing needs a Vulkan device: ManiSkill is not installed, and {why}.")
        return
    try:
        try:
            found = probe()
        except Failed as problem:
            if check:
                raise
            print(f"No usable Vulkan device ({problem}); installing Mesa's software driver.", flush=True)
            install(_run_aloud)
            found = probe()
    except Failed as problem:
        sys.exit(f"No usable Vulkan device: {problem}.\n{WHAT_TO_INSTALL}")
    print(f"Vulkan device for the simulator: {found}")


if __name__ == "__main__":
    main()
