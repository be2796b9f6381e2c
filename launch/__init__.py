"""The programs: flags to a Config to one library call."""

import rpd_jax  # noqa: F401  (prepares the process before JAX starts)
