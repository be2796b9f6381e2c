"""Settings of the process that must be made before JAX starts. Standard library only.

XLA's CPU client shares the members of a batched LAPACK call out to its own threads, so OpenBLAS's threads only get in
its way (measured: 1.3 s instead of 5 to 50 s). The library itself makes no such calls: as many at once as the client
has threads (jax >= 0.10: as there are cores) wait for ever, see `policies.dense.orthogonal`.
"""

from __future__ import annotations

import contextlib
import os
import sys

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


def available_cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
