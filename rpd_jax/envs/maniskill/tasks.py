"""What is known about the ManiSkill tasks without running them. Imports no simulator."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rpd_jax.envs import rewards
from rpd_jax.types import ActionContract


class Task(NamedTuple):
    max_episode_steps: int  # ManiSkill's own limit
    instruction: str  # what the RPD teachers were fine-tuned with (its public code, task table)


TASKS: Mapping[str, Task] = {
    "PushCube-v1": Task(50, "push the cube away from the robot base"),
    "PullCube-v1": Task(50, "pull the cube towards the robot base"),
    "PickCube-v1": Task(50, "pick up the cube"),
    "StackCube-v1": Task(50, "stack the red cube on the green cube"),
    "LiftPegUpright-v1": Task(50, "lift the peg upright"),
    "RollBall-v1": Task(80, "push the ball"),
    "PokeCube-v1": Task(50, "push the cube by using the blue tool"),
    "PullCubeTool-v1": Task(100, "pull the cube by using the red tool"),
    "PegInsertionSide-v1": Task(100, "insert the peg from the side"),
}

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
    """What the actions mean, or None for modes that are not deltas of the current end-effector pose."""
    return _CONTRACTS.get(control_mode)


def check_choice(field: str, value: object, choices: Iterable[str]) -> str:
    """The value itself if it is one of `choices`; otherwise ValueError with the closest of them."""
    choices = tuple(choices)
    if isinstance(value, str) and value in choices:
        return value
    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(str(value).lower(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    raise ValueError(f"{field}: unknown value {value!r}, need one of {', '.join(choices)}{hint}")
