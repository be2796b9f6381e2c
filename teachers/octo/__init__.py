"""Octo in Flax: loads official checkpoints, runs, is fine-tuned, and teaches."""
