"""Builds the physics model of a scene, in code: no meshes, no files.

The contact settings are what makes a light cube stay between two fingers at 100 steps a second, and near the hand when
it is hit: a hand that follows commands without overshoot (time constant 0.1 s, as ManiSkill's arm) but with limited
force, weak and damped fingers that are coupled, a pyramidal cone, eight Newton iterations (four fling cubes away).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import NamedTuple

import mujoco

from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.scene import Body, Scene, Shape

FINGERS = ("left", "right")
TABLE, OBJECT, HAND = 1, 2, 4  # bits of contype: who meets whom
TABLE_FRICTION = 0.3
FINGER_FRICTION = 1.2  # ManiSkill's fingers (2.0) on its objects (0.3), averaged as PhysX does; here the larger counts
IMMOVABLE = 1e5  # kg (and kg m^2) of a body that stays


class Model(NamedTuple):
    """A compiled model and where a scene's bodies are in it."""

    mujoco: mujoco.MjModel
    qpos: dict[str, tuple[int, int]]  # body -> its slice of qpos: 7 of a free body, (x, y, yaw) of one that stays
    qvel: dict[str, tuple[int, int]]
    scene: Scene


def build(scene: Scene, *, sensors: bool = True) -> Model:
    """Compiles a scene; joints [0, 8) are the hand's, then come the bodies in their order.

    The sensors, if any, are the forces of the fingers on graspable bodies: [G, 2, 3], world axes, newtons.
    """
    root = ET.Element("mujoco", model="tabletop")
    ET.SubElement(root, "compiler", angle="radian")
    ET.SubElement(
        root,
        "option",
        timestep=_text([hand.TIMESTEP]),
        integrator="implicitfast",
        cone="pyramidal",
        solver="Newton",
        iterations="8",
        ls_iterations="8",
    )
    world = ET.SubElement(root, "worldbody")
    ET.SubElement(
        world,
        "geom",
        name="table",
        type="plane",
        size="2 2 0.1",
        contype=str(TABLE),
        conaffinity="0",  # what meets the table says so itself
        friction=_text([TABLE_FRICTION, 0.005, 0.0001]),
    )
    _add_hand(world, scene)
    for body in scene.bodies:
        _add_body(world, body)
    _add_actuators(root, scene)
    coupled = ET.SubElement(ET.SubElement(root, "equality"), "joint", joint1="hand6", joint2="hand7")
    coupled.set("polycoef", "0 1 0 0 0")  # both servos saturate: without it a gripped object drifts aside
    if sensors:
        _add_sensors(root, scene)
    model = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    # a simulation that blows up shall say so, not begin again with all joints at 0
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    qpos, qvel, at, speed = {}, {}, hand.JOINTS, hand.JOINTS
    for body in scene.bodies:
        size, degrees = (7, 6) if body.free else (3, 3)
        qpos[body.name], qvel[body.name] = (at, at + size), (speed, speed + degrees)
        at, speed = at + size, speed + degrees
    assert (model.nq, model.nv, model.nu, model.na) == (at, speed, hand.JOINTS, 0)
    return Model(model, qpos, qvel, scene)


def _add_sensors(root: ET.Element, scene: Scene) -> None:
    """The net force by which each finger acts on each graspable body, world axes."""
    sensors = ET.SubElement(root, "sensor")
    for name in scene.grasped_names:
        for finger in FINGERS:
            ET.SubElement(sensors, "contact", body1=finger, body2=name, data="force", reduce="netforce", num="1")


def _add_hand(world: ET.Element, scene: Scene) -> None:
    palm = ET.SubElement(world, "body", name="palm", gravcomp="1")
    for axis, limits in (("1 0 0", (-1.0, 1.0)), ("0 1 0", (-1.0, 1.0)), ("0 0 1", (0.0, 1.0))):
        joint = {"type": "slide", "axis": axis, "range": _text(limits), "limited": "true"}
        ET.SubElement(palm, "joint", joint, armature="4")
    pi = 3.14159265
    for axis, most in (("0 1 0", None), ("1 0 0", hand.SIDEWAYS_LIMIT), ("0 0 1", None)):
        joint = {"type": "hinge", "axis": axis, "range": _text((-(most or 2 * pi), most or 2 * pi))}
        ET.SubElement(palm, "joint", joint, armature="0.08", limited="true" if most else "false")
    # everything of the hand hangs in a frame that is turned to point down
    down = {"quat": "0 1 0 0"}
    ET.SubElement(palm, "inertial", pos="0 0 0.08", mass="0.6", diaginertia="0.002 0.002 0.002")
    turned = ET.SubElement(palm, "body", down, name="hand", gravcomp="1")
    for shape in hand.PALM_SHAPES:
        if shape.collide:
            _add_geom(turned, shape, contype=HAND, conaffinity=OBJECT, friction=0.3)
    ET.SubElement(turned, "inertial", pos="0 0 0", mass="0.001", diaginertia="1e-6 1e-6 1e-6")
    for name, side in zip(FINGERS, (1, -1), strict=True):
        finger = ET.SubElement(turned, "body", name=name, gravcomp="1")
        slide = {"type": "slide", "axis": f"0 {side} 0", "range": _text([0.0, hand.FINGER_OPEN]), "limited": "true"}
        ET.SubElement(finger, "joint", slide, armature="0.2")
        ET.SubElement(finger, "inertial", pos="0 0 0", mass="0.02", diaginertia="1e-5 1e-5 1e-5")
        for shape in hand.finger_shapes(side):
            both = TABLE | OBJECT
            if shape.collide:
                _add_geom(finger, shape, contype=HAND, conaffinity=both, friction=FINGER_FRICTION)


def _add_body(world: ET.Element, body: Body) -> None:
    position = "0 0 0" if body.free else _text([0.0, 0.0, body.height])
    element = ET.SubElement(world, "body", name=body.name, pos=position)
    if body.free:
        ET.SubElement(element, "freejoint")
    else:
        for kind, axis in (("slide", "1 0 0"), ("slide", "0 1 0"), ("hinge", "0 0 1")):
            ET.SubElement(element, "joint", type=kind, axis=axis, armature=_text([IMMOVABLE]))
    collide = [shape for shape in body.shapes if shape.collide]
    volume = sum(_volume(shape) for shape in collide)
    # a body that stays needs not meet the table
    meets = HAND | OBJECT | (TABLE if body.free else 0)
    density = body.mass / volume
    for shape in collide:
        _add_geom(element, shape, contype=OBJECT, conaffinity=meets, friction=body.friction, density=density)


def _add_geom(
    parent: ET.Element,
    shape: Shape,
    *,
    contype: int,
    conaffinity: int,
    friction: float,
    density: float = 0.0,
) -> None:
    ET.SubElement(
        parent,
        "geom",
        type=shape.kind,
        size=_text(shape.size),
        pos=_text(shape.position),
        quat=_text(shape.quaternion),
        contype=str(contype),
        conaffinity=str(conaffinity),
        condim="3",
        friction=_text([friction, 0.005, 0.0001]),
        density=_text([density]),
    )


def _add_actuators(root: ET.Element, scene: Scene) -> None:
    """Position servos, by the joints' order; joints have no names, so they get them here."""
    actuators = ET.SubElement(root, "actuator")
    joints = [j for body in ("palm", "left", "right") for j in root.findall(f".//body[@name='{body}']/joint")]
    servos: list[tuple[float, float, float]] = [(4000.0, 400.0, 50.0)] * 3  # kp, damping, most force
    servos += [(80.0, 8.0, 2.0)] * 3
    servos += [(500.0, 50.0, scene.grip_force)] * 2
    for index, (joint, (kp, kv, most)) in enumerate(zip(joints, servos, strict=True)):
        joint.set("name", f"hand{index}")
        limits = {"forcerange": _text([-most, most]), "forcelimited": "true"}
        ET.SubElement(actuators, "position", limits, joint=f"hand{index}", kp=_text([kp]), kv=_text([kv]))


def _volume(shape: Shape) -> float:
    pi = 3.14159265
    if shape.kind == "box":
        return 8 * shape.size[0] * shape.size[1] * shape.size[2]
    if shape.kind == "sphere":
        return 4 / 3 * pi * shape.size[0] ** 3
    radius, half = shape.size
    return 2 * pi * radius**2 * half + (4 / 3 * pi * radius**3 if shape.kind == "capsule" else 0.0)


def _text(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:.10g}" for number in numbers)
