"""Toy tasks written in JAX: a reaching task, and probes that isolate one learning ability each."""
