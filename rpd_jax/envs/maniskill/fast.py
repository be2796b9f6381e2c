"""Faster equivalents of a few ManiSkill functions that every step calls, for one environment on the CPU.

ManiSkill computes with tensors that hold one pose, where the cost is not arithmetic but some thousand calls
of torch per step. The versions here do the same float32 operations in the same order, on numpy's scalars,
which round after every operation as tensors do: results are equal to the last bit, and tests compare them and
whole episodes with those of plain ManiSkill. Whatever is not a single pose on the CPU goes the old way.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np
import torch
from mani_skill.agents.controllers import pd_ee_pose
from mani_skill.utils.geometry import rotation_conversions
from mani_skill.utils.structs import articulation, pose
from sapien import Pose as SapienPose

_VERSIONS = ("3.0.",)  # whose code was read; others run unchanged
_ONE, _TWO = np.float32(1), np.float32(2)
_PLUS, _MINUS = np.float32(1), np.float32(-1)
# Component n of the product: p[0] q[n] and three signed products p[i] q[j], in the order in which they are added.
_HAMILTON = (
    (0, (_MINUS, 1, 1), (_MINUS, 2, 2), (_MINUS, 3, 3)),
    (1, (_PLUS, 1, 0), (_PLUS, 2, 3), (_MINUS, 3, 2)),
    (2, (_MINUS, 1, 3), (_PLUS, 2, 0), (_PLUS, 3, 1)),
    (3, (_PLUS, 1, 2), (_MINUS, 2, 1), (_PLUS, 3, 0)),
)

_slow_multiply = rotation_conversions.quaternion_raw_multiply
_slow_to_matrix = rotation_conversions.quaternion_to_matrix
_slow_create = pose.Pose.create.__func__
_slow_set_action = pd_ee_pose.PDEEPosController.set_action
_slow_ee_pose = pd_ee_pose.PDEEPosController.ee_pose_at_base.fget
_REMEMBERED = "_ee_pose_of_this_action"
_slow_set_targets = articulation.Articulation.set_joint_drive_targets


def install() -> bool:
    """Replaces the functions in this process if ManiSkill's version is one that is known; says whether."""
    if not metadata.version("mani_skill").startswith(_VERSIONS):
        return False
    rotation_conversions.quaternion_raw_multiply = quaternion_raw_multiply
    rotation_conversions.quaternion_to_matrix = pose.quaternion_to_matrix = quaternion_to_matrix
    pose.Pose.create = classmethod(create_pose)
    pd_ee_pose.PDEEPosController.ee_pose_at_base = property(ee_pose_at_base)
    pd_ee_pose.PDEEPosController.set_action = set_action
    articulation.Articulation.set_joint_drive_targets = set_joint_drive_targets
    return True


def _is_single(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    return tensor.shape == shape and tensor.dtype == torch.float32 and not tensor.is_cuda


def quaternion_raw_multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Stands in for `rotation_conversions.quaternion_raw_multiply`: Hamilton's product, scalars first."""
    if not (_is_single(left, (1, 4)) and _is_single(right, (1, 4))):
        return _slow_multiply(left, right)
    p, q = left.numpy()[0], right.numpy()[0]
    product = [
        ((p[0] * q[n] + s1 * p[a] * q[b]) + s2 * p[c] * q[d]) + s3 * p[e] * q[f]
        for n, (s1, a, b), (s2, c, d), (s3, e, f) in _HAMILTON
    ]
    return torch.from_numpy(np.array([product], np.float32))


def quaternion_to_matrix(quaternions: torch.Tensor) -> torch.Tensor:
    """Stands in for `rotation_conversions.quaternion_to_matrix`: 1 + s (v v^T - |v|^2 + w [v]x), s = 2 / |q|^2."""
    if not _is_single(quaternions, (1, 4)):
        return _slow_to_matrix(quaternions)
    s = _TWO / (quaternions * quaternions).sum(-1).numpy()[0]
    w, x, y, z = quaternions.numpy()[0]
    xx, yy, zz, xy, xz, yz, wx, wy, wz = x * x, y * y, z * z, x * y, x * z, y * z, w * x, w * y, w * z
    rows = [
        [_ONE - s * (yy + zz), s * (xy - wz), s * (xz + wy)],
        [s * (xy + wz), _ONE - s * (xx + zz), s * (yz - wx)],
        [s * (xz - wy), s * (yz + wx), _ONE - s * (xx + yy)],
    ]
    return torch.from_numpy(np.array([rows], np.float32))


def create_pose(cls: type, value: Any, device: Any = None) -> Any:
    """Stands in for the class method `Pose.create`."""
    single = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(single, SapienPose) or (device is not None and torch.device(device).type != "cpu"):
        return _slow_create(cls, value, device)
    raw = np.empty((1, 7), np.float32)
    raw[0, :3] = single.p
    raw[0, 3:] = single.q
    return cls(raw_pose=torch.from_numpy(raw))


def ee_pose_at_base(self: Any) -> Any:
    """Stands in for the property `PDEEPosController.ee_pose_at_base`, remembered for the length of a `set_action`."""
    remembered = self.__dict__.get(_REMEMBERED)
    return _slow_ee_pose(self) if remembered is None else remembered


def set_action(self: Any, action: torch.Tensor) -> None:
    """Wraps `PDEEPosController.set_action`, which asks for the tool's pose more than once while the arm is still."""
    self.__dict__[_REMEMBERED] = _slow_ee_pose(self)
    try:
        _slow_set_action(self, action)
    finally:
        del self.__dict__[_REMEMBERED]


def set_joint_drive_targets(self: Any, targets: Any, joints: Any = None, joint_indices: Any = None) -> None:
    """Stands in for `Articulation.set_joint_drive_targets`."""
    if self.scene.gpu_sim_enabled or joints is None or not _is_single(targets, (1, len(joints))):
        return _slow_set_targets(self, targets, joints, joint_indices)
    values = targets.numpy()[0]
    for i, joint in enumerate(joints):
        joint._objs[0].drive_target = values[i : i + 1]
    return None
