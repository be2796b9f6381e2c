"""PullCubeTool-v1: grasp the red L-shaped tool and pull the blue cube, which is out of reach, with its hook.

For a grasp ManiSkill's fingers must press within 20 degrees of their closing direction, here within this suite's wider
limit.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.envs.tabletop.scene import Body, Scene, box, cube
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, pose_at
from rpd_jax.types import Array

HALF = 0.02  # of the cube's edge, metres
HANDLE, HOOK, WIDTH = 0.2, 0.05, 0.05  # lengths of handle and hook along x, thickness of both, metres
ARM_REACH = 0.35  # what the rules take for the arm's reach, metres
NEAR_BASE = 0.6  # a cube this close to the base, seen from above, has been pulled, metres
AWAY = ARM_REACH + 0.15  # a cube beyond this x was pushed away
BASE = (-0.615, 0.0, 0.0)  # of the robot
POSITIONED = 0.05  # the tool counts as behind the cube this close to where it should be, metres


def _place(key: Array) -> Placement:
    tool_key, cube_key, turn_key = jax.random.split(key, 3)
    tool = jax.random.uniform(tool_key, (2,), minval=-0.3, maxval=-0.1)
    low, high = jnp.array([ARM_REACH - 0.3, -0.25]), jnp.array([ARM_REACH - 0.3 + HANDLE, 0.05])
    xy = jax.random.uniform(cube_key, (2,), minval=low, maxval=high)
    yaw = jax.random.uniform(turn_key, (), minval=-jnp.pi / 6, maxval=jnp.pi / 6)
    return Placement(
        # the cube begins 5 mm above the table, as in ManiSkill
        pose={"cube": pose_at(jnp.append(xy, 0.025), yaw), "l_shape_tool": pose_at(jnp.append(tool, WIDTH / 2))},
        goal={},
    )


def _observe(view: View) -> Mapping[str, Array]:
    return {"tcp_pose": view.tcp, "cube_pose": view.pose["cube"], "tool_pose": view.pose["l_shape_tool"]}


def _success(view: View) -> Array:
    return distance(view.pose["cube"][:2], jnp.array(BASE[:2])) < NEAR_BASE


def _dense(view: View, success: Array) -> Array:
    """Reach the handle's end and grasp it; bring the hook beyond the cube; pull, while the hook is there.

    The hook touches the cube 6 cm from its place beyond it: as in ManiSkill the reward for pulling ends there. Nor do
    ManiSkill's terms end at `reward_scale`: their sum is below 13.5.
    """
    cube, tool = view.pose["cube"][:3], view.pose["l_shape_tool"][:3]
    grasped = view.grasped["l_shape_tool"]
    reward = 2.0 * closeness(distance(view.tcp[:3], tool + jnp.array([0.02, 0.0, 0.0]))) + 2.0 * grasped
    gap = distance(tool, cube + jnp.array([-(HOOK + HALF), -0.067, 0.0]))
    shop = jnp.array(BASE) + jnp.array([0.05, 0.0, 0.0])
    far = distance(jnp.array([ARM_REACH + 0.1, 0.0, 0.01]), shop)
    progress = (far - distance(cube, shop)) / far
    reward = reward + grasped * (1.5 * closeness(gap, 3.0) + 3.0 * progress * (gap < POSITIONED))
    return reward - 2.0 * (cube[0] > AWAY) + 5.0 * success


def _tool() -> Body:
    """Its origin is the handle's end; the hook sticks out to +y. ManiSkill's hook is twice as dense as its handle."""
    red, half = (0.85, 0.05, 0.05), WIDTH / 2
    handle = box((HANDLE / 2, half, half), red, (HANDLE / 2, 0.0, 0.0))
    hook = box((HOOK / 2, WIDTH, half), red, (HANDLE - HOOK / 2, WIDTH, 0.0))
    return Body("l_shape_tool", (handle, hook), mass=0.5)


TASK = Task(
    scene=Scene(bodies=(cube("cube", (0.05, 0.16, 0.63), HALF), _tool()), grip_force=10.0),
    instruction="pull the cube by using the red tool",
    max_episode_steps=100,
    reward_scale=5.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("cube_pose", "tool_pose"),
)
