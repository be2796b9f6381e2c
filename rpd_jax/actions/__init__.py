"""End-effector delta actions: rotations, what the seven numbers mean (contracts), and deltas spread over windows.

from rpd_jax.actions.contracts import convert

theirs = convert(action, source, target)        # [..., 7]: the same motion under another `ActionContract`
"""
