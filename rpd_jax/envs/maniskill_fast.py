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

_slow_multiply = rotation_conversions.quaternion_raw_multiply
_slow_to_matrix = rotation_conversions.quaternion_to_matrix
_slow_to_quaternion = rotation_conversions.matrix_to_quaternion
_slow_create = pose.Pose.create.__func__
_slow_set_action = pd_ee_pose.PDEEPosController.set_action
_slow_set_targets = articulation.Articulation.set_joint_drive_targets


def install() -> bool:
    """Replaces the functions in this process if ManiSkill's version is one that is known; says whether."""
    if not metadata.version("mani_skill").startswith(_VERSIONS):
        return False
    rotation_conversions.quaternion_raw_multiply = quaternion_raw_multiply
    rotation_conversions.quaternion_to_matrix = pose.quaternion_to_matrix = quaternion_to_matrix
    rotation_conversions.matrix_to_quaternion = pd_ee_pose.matrix_to_quaternion = matrix_to_quaternion
    pose.Pose.create = classmethod(create_pose)
    pd_ee_pose.PDEEPosController.set_action = set_action
    articulation.Articulation.set_joint_drive_targets = set_joint_drive_targets
    return True


def _is_single(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    return tensor.shape == shape and tensor.dtype == torch.float32 and not tensor.is_cuda


def quaternion_raw_multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Stands in for `rotation_conversions.quaternion_raw_multiply`."""
    if not (_is_single(a, (1, 4)) and _is_single(b, (1, 4))):
        return _slow_multiply(a, b)
    aw, ax, ay, az = a.numpy()[0]
    bw, bx, by, bz = b.numpy()[0]
    product = np.empty((1, 4), np.float32)
    product[0, 0] = aw * bw - ax * bx - ay * by - az * bz
    product[0, 1] = aw * bx + ax * bw + ay * bz - az * by
    product[0, 2] = aw * by - ax * bz + ay * bw + az * bx
    product[0, 3] = aw * bz + ax * by - ay * bx + az * bw
    return torch.from_numpy(product)


def quaternion_to_matrix(quaternions: torch.Tensor) -> torch.Tensor:
    """Stands in for `rotation_conversions.quaternion_to_matrix`."""
    if not _is_single(quaternions, (1, 4)):
        return _slow_to_matrix(quaternions)
    scale = _TWO / (quaternions * quaternions).sum(-1).numpy()[0]
    r, i, j, k = quaternions.numpy()[0]
    matrix = np.empty((1, 3, 3), np.float32)
    matrix[0, 0, 0] = _ONE - scale * (j * j + k * k)
    matrix[0, 0, 1] = scale * (i * j - k * r)
    matrix[0, 0, 2] = scale * (i * k + j * r)
    matrix[0, 1, 0] = scale * (i * j + k * r)
    matrix[0, 1, 1] = _ONE - scale * (i * i + k * k)
    matrix[0, 1, 2] = scale * (j * k - i * r)
    matrix[0, 2, 0] = scale * (i * k - j * r)
    matrix[0, 2, 1] = scale * (j * k + i * r)
    matrix[0, 2, 2] = _ONE - scale * (i * i + j * j)
    return torch.from_numpy(matrix)


def matrix_to_quaternion(matrix: torch.Tensor) -> torch.Tensor:
    """Stands in for `rotation_conversions.matrix_to_quaternion`."""
    if not _is_single(matrix, (1, 3, 3)):
        return _slow_to_quaternion(matrix)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.numpy().reshape(9)
    squares = torch.tensor(
        [_ONE + m00 + m11 + m22, _ONE + m00 - m11 - m22, _ONE - m00 + m11 - m22, _ONE - m00 - m11 + m22],
        dtype=torch.float32,
    )
    roots = torch.sqrt(squares.clamp_(min=0.0)).numpy()  # torch's own root: it does not round as numpy's does
    best = int(roots.argmax())  # the best conditioned of four ways, which agree but for noise
    root = roots[best]  # at least 1
    square = root * root
    numerators = (
        (square, m21 - m12, m02 - m20, m10 - m01),
        (m21 - m12, square, m10 + m01, m02 + m20),
        (m02 - m20, m10 + m01, square, m12 + m21),
        (m10 - m01, m20 + m02, m21 + m12, square),
    )[best]
    quaternion = np.array([numerators], np.float32) / (_TWO * root)
    return torch.from_numpy(-quaternion if quaternion[0, 0] < 0 else quaternion)


def create_pose(cls: type, value: Any, device: Any = None) -> Any:
    """Stands in for the class method `Pose.create`."""
    single = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(single, SapienPose) or (device is not None and torch.device(device).type != "cpu"):
        return _slow_create(cls, value, device)
    raw = np.empty((1, 7), np.float32)
    raw[0, :3] = single.p
    raw[0, 3:] = single.q
    return cls(raw_pose=torch.from_numpy(raw))


def set_action(self: Any, action: torch.Tensor) -> None:
    """Stands in for `PDEEPosController.set_action`, without a pose that only the GPU's solver reads."""
    config = self.config
    plain = config.use_delta and not config.use_target and not config.interpolate
    if self.scene.gpu_sim_enabled or not plain:
        return _slow_set_action(self, action)
    self._step = 0
    self._start_qpos = self.qpos
    self._target_pose = self.compute_target_pose(self.ee_pose_at_base, self._preprocess_action(action))
    target = self.kinematics.compute_ik(
        pose=self._target_pose,
        q0=self.articulation.get_qpos(),
        is_delta_pose=False,
        current_pose=None,
        solver_config=config.delta_solver_config,
    )
    self._target_qpos = self._start_qpos if target is None else target
    self.set_drive_targets(self._target_qpos)
    return None


def set_joint_drive_targets(self: Any, targets: Any, joints: Any = None, joint_indices: Any = None) -> None:
    """Stands in for `Articulation.set_joint_drive_targets`."""
    if self.scene.gpu_sim_enabled or joints is None or not _is_single(targets, (1, len(joints))):
        return _slow_set_targets(self, targets, joints, joint_indices)
    values = targets.numpy()[0]
    for i, joint in enumerate(joints):
        joint._objs[0].drive_target = values[i : i + 1]
    return None
