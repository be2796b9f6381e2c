"""The hand: a parallel-jaw gripper of Panda's size that floats, driven like ManiSkill's `pd_ee_delta_pose`.

Joints [8]: three slides (the tool centre point's x, y, z), three hinges (about y, then x, then z of the hand that
points down), two fingers (metres from closed). The hinges' order puts the gimbal lock where the hand lies on its
side, which no task needs.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp
import numpy as np

from rpd_jax.actions import rotations
from rpd_jax.envs.tabletop.scene import Shape
from rpd_jax.types import ActionContract, Array

JOINTS = 8
REACH = 0.5  # metres from the base: turns the speed of the floating hand into that of an arm's joints
FINGER_OPEN, FINGER_SHUT = 0.04, -0.01  # what the gripper's 1 and -1 command, metres per finger
SIDEWAYS_LIMIT = 1.3  # radians, of the middle hinge
SUBSTEPS, TIMESTEP = 5, 0.01  # of physics in a control step, seconds

CONTRACT = ActionContract(
    translation_scale=0.1,
    rotation_scale=0.1,
    rotation_form="euler_xyz",
    rotation_sign=1,  # not inverted as in ManiSkill 3.0.1
    frame="base",
    gripper_closed=-1.0,
    gripper_open=1.0,
)

PAD = (0.01, 0.004, 0.02)  # half edges of a finger's pad
PAD_CENTER = 0.011  # of the pad above the tool centre point: its tip is 9 mm below
_DOWN = np.array([0.0, 1.0, 0.0, 0.0], np.float32)  # the hand's z axis is the direction in which the fingers point

WHITE, GREY, DARK = (0.93, 0.94, 0.95), (0.62, 0.64, 0.67), (0.22, 0.23, 0.25)
PALM_SHAPES = (
    Shape("box", (0.032, 0.1, 0.032), WHITE, (0.0, 0.0, -0.076)),
    Shape("cylinder", (0.042, 0.008), DARK, (0.0, 0.0, -0.116), collide=False),
    Shape("cylinder", (0.034, 0.45), GREY, (0.0, 0.0, -0.574), collide=False),  # an arm that comes from above
)
"""Of the palm, in the hand's frame: origin at the tool centre point, z along the fingers."""


def finger_shapes(side: int) -> tuple[Shape, ...]:
    """Of a finger (`side` 1 or -1) whose joint is at 0, in the hand's frame."""
    pad = Shape("box", PAD, DARK, (0.0, side * PAD[1], -PAD_CENTER))
    arm = Shape("box", (0.009, 0.006, 0.012), GREY, (0.0, side * 0.008, -0.034), collide=False)
    return (pad, arm)


def tcp_pose(joints: Array) -> Array:
    """Pose [7] of the tool centre point from the joints [8]."""
    return jnp.concatenate([joints[:3], orientation(joints[3:6])])


def orientation(hinges: Array) -> Array:
    """Quaternion [4] of the hand from its hinges [3]."""
    # Ry Rx Rz is the intrinsic order x, y, z with the names of x and y exchanged, and all turns reversed with them
    w, x, y, z = rotations.quaternion_from_euler(jnp.stack([-hinges[0], -hinges[1], -hinges[2]]))
    return rotations.quaternion_multiply(jnp.stack([w, -y, -x, -z]), _DOWN)


def hinges_of(quaternion: Array) -> Array:
    """Hinges [3] that give the hand this orientation [4]; inverts `orientation`."""
    turn = rotations.quaternion_multiply(quaternion, rotations.quaternion_inverse(_DOWN))
    x, y, z = (rotations.quaternion_apply(turn, jnp.eye(3)[i]) for i in range(3))  # columns of R = Ry Rx Rz
    return jnp.stack([jnp.arctan2(z[0], z[2]), jnp.arcsin(jnp.clip(-z[1], -1.0, 1.0)), jnp.arctan2(x[1], y[1])])


def targets(joints: Array, action: Array, base_yaw: float, contract: ActionContract = CONTRACT) -> Array:
    """What the joints' position servos are told [8], for an action [7] in the box of `contract`.

    As in ManiSkill the target is relative to where the hand *is*, and the rotation's norm is limited to 1. `contract`
    is `CONTRACT` but for its scales.
    """
    chex.assert_shape([joints, action], [(JOINTS,), (7,)])
    action = jnp.clip(jnp.nan_to_num(action, nan=0.0), -1.0, 1.0)
    position = joints[:3] + contract.translation_scale * rotations.turn_about_z(action[:3], base_yaw)
    rotation = action[3:6] / jnp.maximum(jnp.linalg.norm(action[3:6]), 1.0)
    angles = contract.rotation_sign * contract.rotation_scale * rotation
    turn = rotations.quaternion_from_euler(angles)
    turn = jnp.append(turn[0], rotations.turn_about_z(turn[1:], base_yaw))
    wanted = rotations.quaternion_multiply(turn, orientation(joints[3:6]))
    hinges = hinges_of(wanted)
    # of all equal angles the nearest to where the hinge is, or the hand would turn all the way round
    hinges = joints[3:6] + jnp.mod(hinges - joints[3:6] + jnp.pi, 2 * jnp.pi) - jnp.pi
    share = 0.5 * (action[6] + 1.0)
    finger = FINGER_SHUT + share * (FINGER_OPEN - FINGER_SHUT)
    return jnp.concatenate([position, hinges, finger[None], finger[None]])


def joint_speeds(velocity: Array) -> Array:
    """Speeds [6] that stand for an arm's joints (rad/s), from the velocities [8] of the hand's joints.

    A hand that moves at 0.1 m/s would turn the joints of an arm of `REACH` at 0.2 rad/s.
    """
    return jnp.concatenate([velocity[:3] / REACH, velocity[3:6]])
