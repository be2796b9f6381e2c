"""OpenVLA in torch: official checkpoints, batched, with action-token logits.

Written for a process of its own: of rpd_jax it may import `types` and `ipc` only. The language model is transformers'
Llama; vision towers, projectors, preprocessing and decoding are here. No remote code is run and `generate` is not used.
"""
