"""Settings of the process that must be made before JAX starts. Standard library only.

XLA's CPU client (jax >= 0.10) runs batched LAPACK calls on the pool of threads that also waits for their
parts, so when as many calls run at once as the pool has threads, all wait for ever. On two cores, two
orthogonal initialisers under a `vmap` are enough. The client sizes its pool by the environment variable
NPROC when it is created. Six threads pass what eight members' 3 x 256 actor-critics need under a vmap (four
hang); the library itself initialises one member after the other. More threads slow small matrix products
down: one update took 0.60 s with four, 0.72 s with six and 0.87 s with eight. The pool already shares the
members of a batch out to threads, so OpenBLAS's own threads only get in its way (measured: 1.3 s instead of
5 to 50 s).
"""

from __future__ import annotations

import os

from rpd_jax import compilation_cache

MIN_POOL_THREADS = 6


def configure() -> None:
    """Gives XLA's CPU client a pool of at least six threads, and OpenBLAS one, unless the user chose.

    Called where programs start: by the launchers, `rpd_jax.train` and `rpd_jax.evaluate`. It has no effect once JAX has
    made its CPU client, or OpenBLAS its threads (at the first decomposition): programs of your own that use JAX before
    they train call it first.
    """
    if available_cores() < MIN_POOL_THREADS:
        os.environ.setdefault("NPROC", str(MIN_POOL_THREADS))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    compilation_cache.configure(available_cores())


def available_cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
