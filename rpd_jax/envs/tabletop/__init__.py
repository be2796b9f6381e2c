"""Tabletop manipulation in MuJoCo, as pure functions of JAX arrays."""
