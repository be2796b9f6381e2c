"""Faster equivalents of some ManiSkill functions that every step calls, for one environment on the CPU.

ManiSkill computes with tensors that hold one pose, where the cost is not arithmetic but some thousand calls
of torch per step. The versions in `fast_pose`, `fast_control` and `fast_contacts` do the same float32 operations in
the same order, on numpy's scalars, which round after every operation as tensors do; what rounds in a way of its own
(sums, norms, sines, products of matrices) stays torch's. Results are equal to the last bit, and tests compare them
and whole episodes with those of plain ManiSkill. Whatever is not single and on the CPU goes the old way.
"""

from __future__ import annotations

from rpd_jax.envs.maniskill import fast_contacts, fast_control, fast_pose
def install() -> bool:
    for owner, name, r in (*fast_pose.REPLACED, *fast_control.REPLACED, *fast_contacts.REPLACED):
        setattr(owner, name, r)
    return True
