"""Teachers: anything that proposes actions for observations."""

import rpd_jax  # noqa: F401  (prepares the process before JAX starts)
