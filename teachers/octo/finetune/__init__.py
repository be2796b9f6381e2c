"""Fine-tuning of Octo on recorded demonstrations, in JAX."""
