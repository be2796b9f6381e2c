"""Faster equivalents of some ManiSkill functions that every step calls, for one environment on the CPU.

ManiSkill computes with tensors that hold one pose, where the cost is not arithmetic but some thousand calls
of torch per step. The versions in `fast_pose`, `fast_control`, `fast_contacts` and `fast_observation` do the same
float32 operations in the same order, on numpy's scalars, which round after every operation as tensors do; what rounds
in a way of its own (sums, roots, sines, products of matrices) stays torch's. Results are equal to the last bit, and
tests compare them and whole episodes with those of plain ManiSkill. Whatever is not single and on the CPU goes the old
way, and so does everything where ManiSkill's code is not the one that was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import util
from pathlib import Path

# The code that is replaced, or that a replacement does the work of: SHA-256 of its files, shortened (mani_skill 3.0.1).
READ: Mapping[str, str] = {
    "mani_skill.agents.base_agent": "64b0c9f45577ef84",
    "mani_skill.agents.controllers.base_controller": "a39aa1ec3666ccca",
    "mani_skill.agents.controllers.pd_ee_pose": "318110fe18cb879e",
    "mani_skill.agents.controllers.pd_joint_pos": "ce05feb05c4370ec",
    "mani_skill.agents.controllers.utils.kinematics": "9e83b6f5bf63c4f5",
    "mani_skill.agents.robots.panda.panda": "2a98a2133b49e5a9",
    "mani_skill.envs.scene": "2e875f4a053fb568",
    "mani_skill.utils.common": "2ae6b0332840befc",
    "mani_skill.utils.geometry.rotation_conversions": "1a68afa09de99970",
    "mani_skill.utils.gym_utils": "66f56909b8b91301",
    "mani_skill.utils.sapien_utils": "c88b239e5e182cd6",
    "mani_skill.utils.structs.actor": "dacf82803b63928a",
    "mani_skill.utils.structs.articulation": "fe3fa5782d32f2c1",
    "mani_skill.utils.structs.articulation_joint": "260d6899bfc35b24",
    "mani_skill.utils.structs.link": "1a98bbeb8f6b06d0",
    "mani_skill.utils.structs.pose": "f5578775b35bbd23",
}


def install() -> bool:
    """Replaces the functions in this process if ManiSkill's code is the one that was read; says whether."""
    if any(digest(name) != read for name, read in READ.items()):
        return False
    # Only now: in another version what they name may not be there.
    from rpd_jax.envs.maniskill import fast_contacts, fast_control, fast_observation, fast_pose

    for module in (fast_pose, fast_control, fast_contacts, fast_observation):
        for owner, name, replacement in module.REPLACED:
            setattr(owner, name, replacement)
    return True


def digest(module: str) -> str:
    """Of its source; empty where there is no such module."""
    try:
        spec = util.find_spec(module)
    except ModuleNotFoundError:
        return ""
    origin = Path(spec.origin) if spec and spec.origin else None
    return hashlib.sha256(origin.read_bytes()).hexdigest()[:16] if origin and origin.is_file() else ""
