"""PegInsertionSide-v1: grasp the peg near its tail and push its head into the hole in the side of the box.

Departures from ManiSkill, whose simulators are built anew for every episode: peg and hole have the middle of its sizes
(half length 0.105 of 0.085 to 0.125 m, half width 0.02 of 0.015 to 0.025 m; the clearance of 3 mm is its own), and the
hole is as high as the box's middle, 0.105 m, where ManiSkill's is up to 5.5 cm off it. The sizes are observed all the
same. Across the box ManiSkill's hole is off the middle too: here the whole box is moved instead. For a grasp
ManiSkill's fingers must press within 20 degrees of their closing direction, here within this suite's wider limit.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.envs.tabletop.scene import Body, Camera, Scene, box, peg
from rpd_jax.envs.tabletop.task import Placement, Task, View, closeness, distance, pose_at
from rpd_jax.types import Array

LENGTH, RADIUS = 0.105, 0.02  # half length (and half edge of the box) and half width of the peg, metres
HOLE = RADIUS + 0.003  # half width of the hole, metres
GRIP = (-0.06, 0.0, 0.0)  # where to hold the peg, in its frame, metres
INSERTED = -0.015  # x of the peg's head in the hole's frame from which on it counts as inserted, metres
IN_LINE = 0.01  # metres: head and middle of a peg this close to the hole's axis may be pushed in


def _place(key: Array) -> Placement:
    peg_key, turn_key, box_key, box_turn_key, hole_key = jax.random.split(key, 5)
    peg = jax.random.uniform(peg_key, (2,), minval=jnp.array([-0.1, -0.3]), maxval=jnp.array([0.1, 0.0]))
    peg_yaw = jnp.pi / 2 + jax.random.uniform(turn_key, (), minval=-jnp.pi / 3, maxval=jnp.pi / 3)
    middle = jax.random.uniform(box_key, (2,), minval=jnp.array([-0.05, 0.2]), maxval=jnp.array([0.05, 0.4]))
    yaw = jnp.pi / 2 + jax.random.uniform(box_turn_key, (), minval=-jnp.pi / 8, maxval=jnp.pi / 8)
    aside = 0.5 * (LENGTH - RADIUS) * jax.random.uniform(hole_key, (), minval=-1.0, maxval=1.0)
    hole = middle + aside * jnp.stack([-jnp.sin(yaw), jnp.cos(yaw)])
    return Placement(
        pose={
            "peg": pose_at(jnp.append(peg, RADIUS), peg_yaw),
            "box_with_hole": pose_at(jnp.append(hole, LENGTH), yaw),
        },
        goal={"peg_half_size": jnp.array([LENGTH, RADIUS, RADIUS]), "box_hole_radius": jnp.asarray(HOLE)},
    )


def _observe(view: View) -> Mapping[str, Array]:
    return {
        "tcp_pose": view.tcp,
        "peg_pose": view.pose["peg"],
        "peg_half_size": view.goal["peg_half_size"],
        "box_hole_pose": view.pose["box_with_hole"],
        "box_hole_radius": view.goal["box_hole_radius"],
    }


def _in_hole(view: View, along: Array | float) -> Array:
    """A point [3] on the peg's axis, `along` metres from its middle, in the hole's frame (x along the hole)."""
    peg, hole = view.pose["peg"], view.pose["box_with_hole"]
    point = peg[:3] + rotations.quaternion_apply(peg[3:], jnp.array([1.0, 0.0, 0.0]) * along)
    return rotations.quaternion_apply(rotations.quaternion_inverse(hole[3:]), point - hole[:3])


def _success(view: View) -> Array:
    head = _in_hole(view, view.goal["peg_half_size"][0])
    return (head[0] >= INSERTED) & jnp.all(jnp.abs(head[1:]) <= view.goal["box_hole_radius"])


def _dense(view: View, success: Array) -> Array:
    """Reach the peg's tail, grasp it, bring head and middle onto the hole's axis, push the head in."""
    peg, grasped = view.pose["peg"], view.grasped["peg"]
    grip = peg[:3] + rotations.quaternion_apply(peg[3:], jnp.array(GRIP))
    head, middle = _in_hole(view, view.goal["peg_half_size"][0]), _in_hole(view, 0.0)
    off = jnp.stack([jnp.linalg.norm(head[1:]), jnp.linalg.norm(middle[1:])])
    align = 1.0 - jnp.tanh(0.5 * jnp.sum(off) + 4.5 * jnp.max(off))
    insert = closeness(jnp.linalg.norm(head)) * jnp.all(off < IN_LINE)
    reward = closeness(distance(view.tcp[:3], grip), 4.0) + grasped * (1.0 + 3.0 * align + 5.0 * insert)
    return jnp.where(success, 10.0, reward)


def _box() -> Body:
    """Four walls around the hole, whose middle is the origin and whose axis is x."""
    thick = (LENGTH - HOLE) / 2
    far, yellow = HOLE + thick, (1.0, 0.82, 0.54)
    sides = [box((LENGTH, thick, LENGTH), yellow, (0.0, side * far, 0.0)) for side in (1, -1)]
    ends = [box((LENGTH, LENGTH, thick), yellow, (0.0, 0.0, side * far)) for side in (1, -1)]
    return Body("box_with_hole", (*sides, *ends), free=False, height=LENGTH)


TASK = Task(
    scene=Scene(
        bodies=(peg("peg", LENGTH, RADIUS, (0.93, 0.96, 0.98), (0.93, 0.45, 0.34)), _box()),
        camera=Camera(eye=(0.5, -0.5, 0.8), target=(0.05, -0.1, 0.4)),
        home_yaw=1.5707963,  # the arm with the wrist camera begins turned
        grip_force=15.0,
    ),
    instruction="insert the peg from the side",
    max_episode_steps=100,
    reward_scale=10.0,
    place=_place,
    observe=_observe,
    success=_success,
    dense=_dense,
    ee_objects=("peg_pose", "box_hole_pose"),
)
