"""LoRA fine-tuning of OpenVLA on recorded demonstrations, in torch, in the OpenVLA teacher's own environment.

Everything but `settings` needs torch, and nothing jax.
"""
