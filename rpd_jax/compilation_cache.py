"""Compiled programs are kept on disk for the next start, in JAX's own cache. Standard library only.

Anyone who can write there can have their code run: the directory is its owner's alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import sys
from pathlib import Path

DIRECTORY = "jax_compilation_cache_dir"
SETTINGS = {
    # seconds: reading takes tens of milliseconds, and a run compiles scores of smaller programs
    "jax_persistent_cache_min_compile_time_secs": 0.2,
    "jax_compilation_cache_max_size": 1 << 30,  # bytes; what was used least recently goes first
}


def configure(cores: int) -> None:
    """Switches JAX's cache on, unless the user chose a directory or there is no place for one.

    JAX's own variables are the user's way to choose: JAX_COMPILATION_CACHE_DIR (empty: no cache),
    JAX_ENABLE_COMPILATION_CACHE=false, and those of SETTINGS.
    """
    jax = sys.modules.get("jax")  # it reads variables when it is imported
    if DIRECTORY.upper() in os.environ or (jax is not None and getattr(jax.config, DIRECTORY)):
        return
    with contextlib.suppress(OSError, RuntimeError):  # a home that cannot be written to, or none
        directory = _private(_home() / "rpd_jax" / f"xla-{_machine(cores)}")
        for name, value in {DIRECTORY: directory, **SETTINGS}.items():
            if name.upper() not in os.environ:
                os.environ[name.upper()] = str(value)
                if jax is not None:
                    jax.config.update(name, str(value) if name == DIRECTORY else value)


def _home() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"


def _private(directory: Path) -> Path:
    """Makes a directory that nobody else can use. Raises OSError where it is not so."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid != os.getuid() or others or not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(f"{directory} is not this user's alone")
    return directory


def _machine(cores: int) -> str:
    """Of the processor and its cores, which XLA compiles for: machines of several kinds may share a home."""
    facts = {platform.machine(), platform.processor(), str(cores)}
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
        named = ("model", "flags", "features", "cpu family", "cpu implementer", "cpu part")
        facts |= {line for line in first.splitlines() if line.lower().startswith(named)}
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()[:8]
