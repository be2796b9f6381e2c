"""What is known about the ManiSkill tasks without running them. Imports no simulator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from rpd_jax.envs import rewards
from rpd_jax.envs.base import Camera
from rpd_jax.types import ActionContract


class Task(NamedTuple):
    max_episode_steps: int  # ManiSkill's own limit
    instruction: str  # what the RPD teachers were fine-tuned with (its public code, task table)
    ee_objects: tuple[str, ...]  # poses [7] of the state that the observation "ee" is made of
    ee_goals: tuple[str, ...] = ()  # positions [3] likewise
    camera: Camera = Camera()  # the human render camera


TASKS: Mapping[str, Task] = {
    "PushCube-v1": Task(50, "push the cube away from the robot base", ("obj_pose",), ("goal_pos",)),
    "PullCube-v1": Task(50, "pull the cube towards the robot base", ("obj_pose",), ("goal_pos",)),
    "PickCube-v1": Task(50, "pick up the cube", ("obj_pose",), ("goal_pos",)),
    "StackCube-v1": Task(50, "stack the red cube on the green cube", ("cubeA_pose", "cubeB_pose")),
    "LiftPegUpright-v1": Task(50, "lift the peg upright", ("obj_pose",)),
    "RollBall-v1": Task(
        80, "push the ball", ("ball_pose",), ("goal_pos",), Camera(eye=(-0.6, 1.3, 0.8), target=(0.0, 0.13, 0.0))
    ),
    "PokeCube-v1": Task(
        50,
        "push the cube by using the blue tool",
        ("cube_pose", "peg_pose"),
        ("cube_to_goal_pos",),  # a difference, but the only entry that tells where the target is
        Camera(target=(0.2, 0.2, 0.35)),
    ),
    "PullCubeTool-v1": Task(100, "pull the cube by using the red tool", ("cube_pose", "tool_pose")),
    "PegInsertionSide-v1": Task(
        100,
        "insert the peg from the side",
        ("peg_pose", "box_hole_pose"),
        camera=Camera(eye=(0.5, -0.5, 0.8), target=(0.05, -0.1, 0.4)),
    ),
}
"""What is known of some tasks. ManiSkill's others run too, without what would have to be known."""

CONTROL_MODES = (
    "pd_ee_delta_pose",
    "pd_ee_delta_pos",
    "pd_ee_pose",
    "pd_ee_target_delta_pos",
    "pd_ee_target_delta_pose",
    "pd_joint_delta_pos",
    "pd_joint_delta_pos_vel",
    "pd_joint_pos",
    "pd_joint_pos_vel",
    "pd_joint_target_delta_pos",
    "pd_joint_vel",
)
REWARD_MODES = ("normalized_dense", "dense", "sparse", *rewards.KINDS)
OBSERVATIONS = ("state", "proprio", "rgb")

PANDAS = ("panda", "panda_wristcam")  # ManiSkill's names of the robot whose controllers are described here
UNITS = {"qpos": (9, "7 rad, 2 m"), "qvel": (9, "7 rad/s, 2 m/s")}  # the Panda's
AXES = {
    "world": "z up, z = 0 in the table's top; in most tasks the Panda's base stands at x = -0.615 m and looks along x",
    "base": "the Panda's base link",
    "hand": "origin at the tool centre point, between the finger tips; z along the fingers",
    "joints": "the Panda's own: seven of the arm, two fingers",
}

_CONTRACTS = {
    # ManiSkill 3.0.1 multiplies the rotation by its *lower* bound, which inverts the sign, and composes it on
    # the left of the tool's orientation as intrinsic XYZ Euler angles (its controllers/pd_ee_pose.py).
    "pd_ee_delta_pose": ActionContract(
        translation_scale=0.1,
        rotation_scale=0.1,
        rotation_form="euler_xyz",
        rotation_sign=-1,
        frame="base",
        gripper_closed=-1.0,
        gripper_open=1.0,
    ),
}


def contract(control_mode: str) -> ActionContract | None:
    """What a Panda's actions mean, or None for modes that are not deltas of the current end-effector pose."""
    return _CONTRACTS.get(control_mode)


def instruction(task: str) -> str:
    """The task in words: those of the table, or its name made readable ("PlaceSphere-v1": "place sphere")."""
    if task in TASKS:
        return TASKS[task].instruction
    return re.sub(r"[-_]+|(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"-v\d+$", "", task)).lower()
