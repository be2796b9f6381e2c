"""What a tabletop scene consists of: bodies made of primitives, markers, a camera, and where the hand begins.

Plain data, from which the physics model (`model.py`) and the pictures (`raycast.py`) are made. Lengths in metres,
masses in kilograms, quaternions (w, x, y, z). The table's surface is z = 0; the robot's base looks along +x.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from rpd_jax.envs.base import Camera

Kind = Literal["box", "sphere", "capsule", "cylinder"]
Vector = tuple[float, float, float]
Color = tuple[float, float, float]

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
CUBE_FRICTION = 1.0  # ManiSkill's is 0.3; with this a cube that is hit stays about as near to the hand as there
CAMERA = Camera()  # of most tasks: ManiSkill's for people
CLOSER = Camera(eye=(0.62, 0.55, 0.5), target=(0.0, 0.0, 0.12), fov=0.85)
HOME = (0.0, 0.0, 0.1695)  # tool centre point at the beginning of ManiSkill's episodes, measured


@dataclasses.dataclass(frozen=True)
class Shape:
    """A primitive, placed in its body.

    `size` is MuJoCo's: half edges of a box; (radius,) of a sphere; (radius, half length along z) of a cylinder, and of
    a capsule without its caps. A shape that does not `collide` is only seen; through one of an `opacity` below 1 one
    sees what is behind.
    """

    kind: Kind
    size: tuple[float, ...]
    color: Color
    position: Vector = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = UPRIGHT
    collide: bool = True
    opacity: float = 1.0


@dataclasses.dataclass(frozen=True)
class Body:
    """A rigid object.

    A `free` body moves as physics wants. Another one stays where the episode puts it (it is placed in x, y and turned
    about z; its height is `height`), whatever pushes it.
    """

    name: str
    shapes: tuple[Shape, ...]
    mass: float = 0.064  # a 4 cm cube of water's density
    friction: float = 0.3  # sliding, against the table; the fingers' is theirs
    free: bool = True
    height: float = 0.0  # of the origin of a body that is not free
    graspable: bool = True  # whether the fingers' forces on it are measured


@dataclasses.dataclass(frozen=True)
class Marker:
    """Something that is only seen, drawn where the episode's goal of that name is: a position [3] or a pose [7]."""

    goal: str
    shapes: tuple[Shape, ...]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything on the table."""

    bodies: tuple[Body, ...]
    markers: tuple[Marker, ...] = ()
    camera: Camera = CAMERA
    home: Vector = HOME  # mean position of the tool centre point when an episode begins
    home_yaw: float = 0.0  # of the hand about z, world axes: 0 opens the fingers along y
    base_yaw: float = 0.0  # of the robot's base, in whose axes actions are
    grip_force: float = 3.0  # newtons, of each finger at most

    @property
    def grasped_names(self) -> tuple[str, ...]:
        """Bodies on which the fingers' forces are measured, in order."""
        return tuple(body.name for body in self.bodies if body.free and body.graspable)


def closer(own: Camera) -> Camera:
    """The camera for people, in whose picture a task's hand, objects and goal are.

    ManiSkill's, which most tasks have, leaves the objects small at the lower edge; a task with another keeps that.
    """
    return CLOSER if own == CAMERA else own


def box(size: Vector, color: Color, position: Vector = (0.0, 0.0, 0.0), *, collide: bool = True) -> Shape:
    """A box of half edges `size`."""
    return Shape("box", size, color, position, collide=collide)


def cube(name: str, color: Color, half: float = 0.02) -> Body:
    """A free cube with edges of 2 `half`, of water's density."""
    return Body(name, (box((half, half, half), color),), mass=1000.0 * (2 * half) ** 3, friction=CUBE_FRICTION)


def peg(name: str, half_length: float, half_width: float, color: Color, head_color: Color | None = None) -> Body:
    """A free square bar along x, of water's density; its half towards +x may be of another colour."""
    shapes = [box((half_length, half_width, half_width), color)]
    if head_color is not None:
        half, skin = half_length / 2, 2e-4  # a hull around the head, only seen
        size = (half + skin, half_width + skin, half_width + skin)
        shapes.append(box(size, head_color, (half, 0.0, 0.0), collide=False))
    return Body(name, tuple(shapes), mass=1000.0 * 8 * half_length * half_width**2)


def target_disc(goal: str, radius: float) -> Marker:
    """A flat target of red and white rings on the table."""
    rings = [(0.0004 * i, share, (0.85, 0.1, 0.1) if i % 2 == 0 else (0.95, 0.95, 0.95)) for i, share in _RINGS]
    shapes = [Shape("cylinder", (radius * s, 0.0004), c, (0.0, 0.0, z), collide=False) for z, s, c in rings]
    return Marker(goal, tuple(shapes))


_RINGS = tuple(enumerate((1.0, 0.8, 0.6, 0.4, 0.2)))
