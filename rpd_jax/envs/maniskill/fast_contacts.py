"""Whether a Panda holds something, and whether it is still, for one robot on the CPU; see `fast`.

The answers are yes or no, so the way there need not round as ManiSkill's does: it is taken in doubles, and only where
these come close to a threshold does ManiSkill's own code decide.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from mani_skill.agents.robots.panda.panda import Panda
from mani_skill.utils.sapien_utils import get_pairwise_contact_impulse

from rpd_jax.envs.maniskill.fast_pose import is_alone

_NEAR_N = 1e-3
_NEAR_DEGREES = 0.1
_MOST_N = 1e12  # beyond which float32 could overflow

_slow_is_grasping = Panda.is_grasping
_slow_is_static = Panda.is_static


def is_grasping(self: Any, object: Any, min_force: float = 0.5, max_angle: float = 85) -> torch.Tensor:
    """`Panda.is_grasping`: both fingers press on it, along the direction in which they open."""
    if not (is_alone(self.robot) and len(object._bodies) == 1):
        return _slow_is_grasping(self, object, min_force, max_angle)
    contacts = self.scene.px.get_contacts()
    for finger, sign in ((self.finger1_link, 1.0), (self.finger2_link, -1.0)):
        body = finger._bodies[0]
        impulse = get_pairwise_contact_impulse(contacts, body.entity, object._bodies[0].entity)
        force = (impulse / self.scene.px.timestep).tolist()
        presses = _presses(force, sign, body.entity_pose.q.tolist(), min_force, max_angle)
        if presses is None:
            return _slow_is_grasping(self, object, min_force, max_angle)
        if not presses:
            return torch.tensor([False])
    return torch.tensor([True])


def _presses(force: list[float], sign: float, q: list[float], min_force: float, max_angle: float) -> bool | None:
    """Whether a force [3] is one of a finger whose orientation is `q` and that opens along +-y; None: hard to say."""
    size = math.hypot(*force)
    if not _NEAR_N < abs(size - min_force) < _MOST_N:
        return None
    if size < min_force:
        return False
    w, x, y, z = q
    opening = (2 * (x * y - w * z), w * w - x * x + y * y - z * z, 2 * (y * z + w * x))
    cosine = sign * sum(a * b for a, b in zip(opening, force, strict=True)) / (size * math.hypot(*opening))
    angle = math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
    return angle < max_angle if abs(angle - max_angle) > _NEAR_DEGREES else None


def is_static(self: Any, threshold: float = 0.2) -> torch.Tensor:
    """`Panda.is_static`: the arm, not the fingers."""
    if not is_alone(self.robot):
        return _slow_is_static(self, threshold)
    fastest = np.abs(self.robot._objs[0].qvel[:-2]).max()
    return torch.tensor([bool(fastest <= threshold)])


REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (Panda, "is_grasping", is_grasping),
    (Panda, "is_static", is_static),
)
