"""What the fine-tunings of Octo and of OpenVLA share. Nothing here needs jax or torch."""
