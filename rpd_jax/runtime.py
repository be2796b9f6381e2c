"""Settings of the process that must be made before JAX starts. Standard library only.

XLA's CPU client shares the members of a batched LAPACK call out to its own threads, so OpenBLAS's threads only get in
its way (measured: 1.3 s instead of 5 to 50 s). The library itself makes no such calls: as many at once as the client
has threads (jax >= 0.10: as there are cores) wait for ever, see `policies.dense.orthogonal`.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from pathlib import Path

from rpd_jax import compilation_cache


def configure() -> None:
    """Gives OpenBLAS one thread, and JAX a CPU device for each core and a cache, unless the user chose.

    Called where programs start: by the launchers, `rpd_jax.train` and `rpd_jax.evaluate`. It has no effect once
    OpenBLAS has made its threads, at the first decomposition, and JAX its devices.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", "") and "JAX_NUM_CPU_DEVICES" not in os.environ:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(available_cores())
        if "jax" in sys.modules:  # which has read the variable already
            with contextlib.suppress(RuntimeError):  # nor does it make devices a second time
                sys.modules["jax"].config.update("jax_num_cpu_devices", available_cores())
    compilation_cache.configure(available_cores())


def cores() -> set[int]:
    """The processor cores that this process may use; where the system does not tell (macOS), all of them."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def available_cores() -> int:
    """Their number."""
    return len(cores())


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that can be had without swapping: the kernel's estimate, and a container's limit where there is one.

    Infinity where neither is known, as on macOS.
    """
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError):
        found.append(_table(proc / "meminfo")["MemAvailable:"] * 1024)  # it says kB and means KiB
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        used = int((cgroup / "memory.current").read_text()) - _table(cgroup / "memory.stat").get("inactive_file", 0)
        found.append(int((cgroup / "memory.max").read_text()) - used)
    return max(min(found), 0)


def _table(path: Path) -> dict[str, int]:
    """The first two words of each line, a name and a number."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text().splitlines())}
