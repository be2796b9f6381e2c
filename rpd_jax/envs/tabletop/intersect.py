"""Where rays enter and leave primitives, and the normals there.

Everything is componentwise: a vector is a tuple of its three components, each an array of any shape (one entry per
ray) or a scalar. XLA then fuses a whole picture into a few loops without storing rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from rpd_jax.types import Array

Scalar = Array | float
Vec = tuple[Scalar, Scalar, Scalar]
Size = Sequence[Scalar]

FAR = 1e6  # metres: further than anything
_TINY = 1e-6  # the least size of a direction's component; in a picture far less than a pixel


class Ray(NamedTuple):
    """Rays origin + t direction in a primitive's own axes."""

    origin: Vec
    direction: Vec  # of length 1, without zeros
    inverse: Vec  # 1 / direction, each component


def make_ray(origin: Vec, direction: Vec) -> Ray:
    """Rays from directions of length 1 that may have zeros."""
    x, y, z = (jnp.where(jnp.abs(d) < _TINY, _TINY, d) for d in direction)
    return Ray(origin, (x, y, z), (1.0 / x, 1.0 / y, 1.0 / z))


def dot(a: Vec, b: Vec) -> Scalar:
    """Inner product of vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def interval(kind: str, size: Size, ray: Ray) -> tuple[Array, Array]:
    """Distances at which a ray's line enters and leaves a primitive at the origin; it misses where near >= far.

    `kind` and `size` are those of `scene.Shape`. Distances are negative behind the ray's origin.
    """
    return _INTERVALS[kind](size, ray)


def normal(kind: str, size: Size, point: Vec) -> Vec:
    """Outward normals, of length 1, at points on a primitive's surface."""
    return _NORMALS[kind](size, point)


def _larger(a: Scalar, b: Scalar) -> Array:
    """As `jnp.maximum`, but without its care for NaN, which costs more than the rest of a slab's test."""
    return jnp.where(a > b, a, b)


def _smaller(a: Scalar, b: Scalar) -> Array:
    return jnp.where(a < b, a, b)


def _slab(half: Scalar, origin: Scalar, inverse: Scalar) -> tuple[Array, Array]:
    middle, reach = -origin * inverse, half * jnp.abs(inverse)
    return middle - reach, middle + reach


def _box(size: Size, ray: Ray) -> tuple[Array, Array]:
    (x, x_out), (y, y_out), (z, z_out) = (_slab(size[i], ray.origin[i], ray.inverse[i]) for i in range(3))
    return _larger(_larger(x, y), z), _smaller(_smaller(x_out, y_out), z_out)


def _ball(radius: Scalar, origin: Vec, direction: Vec) -> tuple[Array, Array]:
    along = dot(origin, direction)
    # the discriminant by the distance of the line from the centre: in float32 exact also for what is small and far
    x, y, z = (o - along * d for o, d in zip(origin, direction, strict=True))
    room = radius * radius - dot((x, y, z), (x, y, z))
    root = jnp.sqrt(_larger(room, 0.0))
    return jnp.where(room > 0.0, -along - root, FAR), jnp.where(room > 0.0, -along + root, -FAR)


def _sphere(size: Size, ray: Ray) -> tuple[Array, Array]:
    return _ball(size[0], ray.origin, ray.direction)


def _tube(radius: Scalar, ray: Ray) -> tuple[Array, Array]:
    """A cylinder without ends."""
    (ox, oy, _), (dx, dy, _) = ray.origin, ray.direction
    flat = dx * dx + dy * dy
    side = ox * dy - oy * dx
    room = flat * (radius * radius) - side * side
    root, along, scale = jnp.sqrt(_larger(room, 0.0)), ox * dx + oy * dy, 1.0 / flat
    near, far = (-along - root) * scale, (-along + root) * scale
    return jnp.where(room > 0.0, near, FAR), jnp.where(room > 0.0, far, -FAR)


def _cylinder(size: Size, ray: Ray) -> tuple[Array, Array]:
    (near, far), (low, high) = _tube(size[0], ray), _slab(size[1], ray.origin[2], ray.inverse[2])
    return _larger(near, low), _smaller(far, high)


def _capsule(size: Size, ray: Ray) -> tuple[Array, Array]:
    """Inside the endless tube a line passes either through the body's side or through the cap on that side."""
    radius, half = size[0], size[1]
    ends = []
    for which, t in enumerate(_tube(radius, ray)):
        z = ray.origin[2] + t * ray.direction[2]
        centre = jnp.where(z > 0.0, half, -half)
        cap = _ball(radius, (ray.origin[0], ray.origin[1], ray.origin[2] - centre), ray.direction)[which]
        ends.append(jnp.where(jnp.abs(z) <= half, t, cap))
    return ends[0], ends[1]


def _box_normal(size: Size, point: Vec) -> Vec:
    """That of the face which the point is nearest to, measured along the axes."""
    x, y, z = (jnp.abs(p) - half for p, half in zip(point, (size[0], size[1], size[2]), strict=True))
    is_x = (x >= y) & (x >= z)
    is_y = ~is_x & (y >= z)
    chosen = (is_x, is_y, ~(is_x | is_y))
    x, y, z = (jnp.where(which, jnp.where(p < 0.0, -1.0, 1.0), 0.0) for which, p in zip(chosen, point, strict=True))
    return x, y, z


def _sphere_normal(size: Size, point: Vec) -> Vec:
    scale = 1.0 / size[0]
    return point[0] * scale, point[1] * scale, point[2] * scale


def _cylinder_normal(size: Size, point: Vec) -> Vec:
    radius, half = size[0], size[1]
    x, y, z = point
    is_end = jnp.abs(z) - half >= jnp.sqrt(x * x + y * y) - radius
    scale = jnp.where(is_end, 0.0, 1.0 / radius)
    return x * scale, y * scale, jnp.where(is_end, jnp.where(z < 0.0, -1.0, 1.0), 0.0)


def _capsule_normal(size: Size, point: Vec) -> Vec:
    radius, half = size[0], size[1]
    x, y, z = point
    scale = 1.0 / radius
    return x * scale, y * scale, (z - jnp.clip(z, -half, half)) * scale


_INTERVALS = {"box": _box, "sphere": _sphere, "cylinder": _cylinder, "capsule": _capsule}
_NORMALS = {
    "box": _box_normal,
    "sphere": _sphere_normal,
    "cylinder": _cylinder_normal,
    "capsule": _capsule_normal,
}
