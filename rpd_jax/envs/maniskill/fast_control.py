"""What ManiSkill's robots do with an action, for one robot on the CPU; see `fast`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.agents import base_agent
from mani_skill.agents.controllers import base_controller, pd_ee_pose, pd_joint_pos
from mani_skill.agents.controllers.utils import kinematics
from mani_skill.utils import gym_utils
from mani_skill.utils.structs import articulation
from mani_skill.utils.structs.pose import Pose
from sapien import Pose as SapienPose

from rpd_jax.envs.maniskill.fast_pose import is_alone, is_single, moved_and_turned

_HALF, _ONE = np.float32(0.5), np.float32(1)
_REMEMBERED = "_ee_pose_of_this_action"

_slow_agent_set_action = base_agent.BaseAgent.set_action
_slow_qpos = base_controller.BaseController.qpos.fget
_slow_clip_and_scale = gym_utils.clip_and_scale_action
_slow_clip_and_scale_pose = pd_ee_pose.PDEEPoseController._clip_and_scale_action
_slow_ee_set_action = pd_ee_pose.PDEEPosController.set_action
_slow_ee_pose = pd_ee_pose.PDEEPosController.ee_pose_at_base.fget
_slow_target_pose = pd_ee_pose.PDEEPoseController.compute_target_pose
_slow_compute_ik = kinematics.Kinematics.compute_ik
_slow_mimic_set_action = pd_joint_pos.PDJointPosMimicController.set_action
_slow_set_targets = articulation.Articulation.set_joint_drive_targets


def agent_set_action(self: Any, action: Any) -> None:
    """`BaseAgent.set_action`, which refuses what is not a number."""
    if not (isinstance(action, torch.Tensor) and is_alone(self.robot)) or np.isnan(action.numpy()).any():
        return _slow_agent_set_action(self, action)
    return self.controller.set_action(action)


def qpos(self: Any) -> torch.Tensor:
    """`BaseController.qpos`."""
    if not is_alone(self.articulation):
        return _slow_qpos(self)
    return torch.from_numpy(self.articulation._objs[0].qpos[None, self.active_joint_indices.numpy()])


# From an action to what is meant by it.


def _scaled(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return _HALF * (high + low) + _HALF * (high - low) * np.minimum(np.maximum(action, -_ONE), _ONE)


def clip_and_scale_action(action: Any, low: Any, high: Any) -> Any:
    """`gym_utils.clip_and_scale_action`."""
    size = action.shape[-1:]
    if not (is_single(action, (1, *size)) and is_single(low, size) and is_single(high, size)):
        return _slow_clip_and_scale(action, low, high)
    return torch.from_numpy(_scaled(action.numpy(), low.numpy(), high.numpy()))


def clip_and_scale_pose(self: Any, action: torch.Tensor) -> torch.Tensor:
    """`PDEEPoseController._clip_and_scale_action`, which limits the norm of the rotation (torch's: a sum)."""
    if not (is_single(action, (1, 6)) and isinstance(self.config.rot_lower, float) and is_alone(self.articulation)):
        return _slow_clip_and_scale_pose(self, action)
    low, high = self.action_space_low.numpy(), self.action_space_high.numpy()
    scaled = np.empty((1, 6), np.float32)
    scaled[:, :3] = _scaled(action.numpy()[:, :3], low[:3], high[:3])
    turn = action[:, 3:].clone()
    norm = torch.linalg.norm(turn, axis=1).numpy()[0]
    factor = _ONE / norm if norm > 1 else _ONE
    scaled[:, 3:] = turn.numpy() * factor * np.float32(self.config.rot_lower)
    return torch.from_numpy(scaled)


# From there to the joints.


def ee_pose_at_base(self: Any) -> Any:
    """The property `PDEEPosController.ee_pose_at_base`, remembered for the length of an `ee_set_action`."""
    remembered = self.__dict__.get(_REMEMBERED)
    return _slow_ee_pose(self) if remembered is None else remembered


def ee_set_action(self: Any, action: torch.Tensor) -> None:
    """Wraps `PDEEPosController.set_action`, which asks for the tool's pose more than once while the arm is still."""
    self.__dict__[_REMEMBERED] = _slow_ee_pose(self)
    try:
        _slow_ee_set_action(self, action)
    finally:
        del self.__dict__[_REMEMBERED]


def compute_target_pose(self: Any, prev_ee_pose_at_base: Any, action: torch.Tensor) -> Any:
    """`PDEEPoseController.compute_target_pose`."""
    if self.config.use_delta and self.config.frame == "root_translation:root_aligned_body_rotation":
        target = moved_and_turned(prev_ee_pose_at_base, action)
        if target is not None:
            return target
    return _slow_target_pose(self, prev_ee_pose_at_base, action)


def compute_ik(self: Any, pose: Any, q0: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor | None:
    """`Kinematics.compute_ik`: the same solver."""
    if self.use_gpu_ik or type(pose) is not Pose or not is_single(pose.raw_pose, (1, 7)):
        return _slow_compute_ik(self, pose, q0, *arguments, **named)
    position_and_turn = pose.raw_pose.numpy()[0]
    result, success, _ = self.pmodel.compute_inverse_kinematics(
        self.end_link_idx,
        SapienPose(position_and_turn[:3], position_and_turn[3:]),
        initial_qpos=q0.numpy()[0, self.pmodel_active_joint_indices.numpy()],
        active_qmask=self.qmask.numpy(),
        max_iterations=100,
    )
    if not success:
        return None
    return torch.from_numpy(result[None, self.pmodel_controlled_joint_indices.numpy()].astype(np.float32))


def mimic_set_action(self: Any, action: torch.Tensor) -> None:
    """`PDJointPosMimicController.set_action`: the gripper, one of whose fingers does what the other does."""
    config, count = self.config, len(self.active_joint_indices)
    if config.use_delta or config.interpolate or not is_single(self._target_qpos, (1, count)):
        return _slow_mimic_set_action(self, action)
    action = self._preprocess_action(action)
    self._step = 0
    self._start_qpos = self.qpos
    target = self._target_qpos.numpy()
    target[:, self.control_joint_indices.numpy()] = action.numpy()
    leading = target[:, self.mimic_control_joint_indices.numpy()]
    target[:, self.mimic_joint_indices.numpy()] = leading * self._multiplier.numpy() + self._offset.numpy()
    return self.set_drive_targets(self._target_qpos)


def set_joint_drive_targets(self: Any, targets: Any, joints: Any = None, joint_indices: Any = None) -> None:
    """`Articulation.set_joint_drive_targets`."""
    if self.scene.gpu_sim_enabled or joints is None or not is_single(targets, (1, len(joints))):
        return _slow_set_targets(self, targets, joints, joint_indices)
    values = targets.numpy()[0]
    for i, joint in enumerate(joints):
        joint._objs[0].drive_target = values[i : i + 1]
    return None


REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (base_agent.BaseAgent, "set_action", agent_set_action),
    (base_controller.BaseController, "qpos", property(qpos)),
    (gym_utils, "clip_and_scale_action", clip_and_scale_action),
    (pd_ee_pose.PDEEPoseController, "_clip_and_scale_action", clip_and_scale_pose),
    (pd_ee_pose.PDEEPosController, "ee_pose_at_base", property(ee_pose_at_base)),
    (pd_ee_pose.PDEEPosController, "set_action", ee_set_action),
    (pd_ee_pose.PDEEPoseController, "compute_target_pose", compute_target_pose),
    (kinematics.Kinematics, "compute_ik", compute_ik),
    (pd_joint_pos.PDJointPosMimicController, "set_action", mimic_set_action),
    (articulation.Articulation, "set_joint_drive_targets", set_joint_drive_targets),
)
