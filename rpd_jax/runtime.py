"""Settings of the process that must be made before JAX starts. Standard library only.

XLA's CPU client shares the members of a batched LAPACK call out to its own threads, so OpenBLAS's threads only get in
its way (measured: 1.3 s instead of 5 to 50 s). The library itself makes no such calls: as many at once as the client
has threads (jax >= 0.10: as there are cores) wait for ever, see `policies.dense.orthogonal`.
"""

from __future__ import annotations

import os


def configure() -> None:
    """Gives OpenBLAS one thread, unless the user chose.

    Called where programs start: by the launchers, `rpd_jax.train` and `rpd_jax.evaluate`. It has no effect once
    OpenBLAS has made its threads, at the first decomposition.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def available_cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
