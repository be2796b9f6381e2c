"""Rotations as jax.numpy functions of [..., 3] and [..., 4] arrays, without branches that break at zero.

Quaternions are (w, x, y, z), as SAPIEN and ManiSkill give them. Matrices act on column vectors. "euler_xyz"
is the intrinsic order R = Rx Ry Rz (SciPy's "XYZ"), which is how ManiSkill's controller decodes three angles.
"""

from __future__ import annotations

import jax.numpy as jnp

from rpd_jax.types import Array


def quaternion_multiply(a: Array, b: Array) -> Array:
    """The rotation b followed by a, both [..., 4]."""
    aw, ax, ay, az = jnp.moveaxis(a, -1, 0)
    bw, bx, by, bz = jnp.moveaxis(b, -1, 0)
    return jnp.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def quaternion_inverse(q: Array) -> Array:
    """The inverse of a unit quaternion [..., 4]."""
    return jnp.concatenate([q[..., :1], -q[..., 1:]], axis=-1)


def quaternion_apply(q: Array, v: Array) -> Array:
    """Turns the vectors v [..., 3] by the unit quaternions q [..., 4]."""
    w, u = q[..., :1], q[..., 1:]
    t = 2.0 * jnp.cross(u, v)
    return v + w * t + jnp.cross(u, t)


def rotvec_from_quaternion(q: Array) -> Array:
    """Rotation vector [..., 3] in radians, of length at most pi, of unit quaternions [..., 4]."""
    q = jnp.where(q[..., :1] < 0, -q, q)
    sine = jnp.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * jnp.arctan2(sine, q[..., :1])
    # angle / sine -> 2 as both vanish
    return q[..., 1:] * jnp.where(sine > 1e-7, angle / jnp.maximum(sine, 1e-7), 2.0)


def quaternion_from_rotvec(v: Array) -> Array:
    """Unit quaternions [..., 4] of rotation vectors [..., 3] in radians."""
    angle = jnp.linalg.norm(v, axis=-1, keepdims=True)
    # sin(angle / 2) / angle, written with sinc (which is sin(pi x) / (pi x)) to be exact at zero
    return jnp.concatenate([jnp.cos(angle / 2), v * 0.5 * jnp.sinc(angle / (2 * jnp.pi))], axis=-1)


def slerp(a: Array, b: Array, share: Array | float) -> Array:
    """Unit quaternions [..., 4] on the shortest way from a (share 0) to b (share 1), at constant angular speed."""
    way = rotvec_from_quaternion(quaternion_multiply(b, quaternion_inverse(a)))
    return quaternion_multiply(quaternion_from_rotvec(way * share), a)


def quaternion_from_euler(angles: Array) -> Array:
    """Unit quaternions [..., 4] of angles [..., 3] = (a, b, c) in radians: Rx(a) Ry(b) Rz(c)."""
    (cx, cy, cz), (sx, sy, sz) = (jnp.moveaxis(f(angles / 2), -1, 0) for f in (jnp.cos, jnp.sin))
    return jnp.stack(
        [
            cx * cy * cz - sx * sy * sz,
            sx * cy * cz + cx * sy * sz,
            cx * sy * cz - sx * cy * sz,
            cx * cy * sz + sx * sy * cz,
        ],
        axis=-1,
    )


def quaternion_from_matrix(m: Array) -> Array:
    """Unit quaternions [..., 4] of rotation matrices [..., 3, 3], at any angle up to and including pi."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = jnp.moveaxis(m.reshape(*m.shape[:-2], 9), -1, 0)
    # four equivalent formulas; the one that divides by the largest component is exact
    rows = jnp.stack(
        [
            jnp.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], axis=-1),
            jnp.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], axis=-1),
            jnp.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m21 + m12], axis=-1),
            jnp.stack([m10 - m01, m02 + m20, m21 + m12, 1 - m00 - m11 + m22], axis=-1),
        ],
        axis=-2,
    )
    best = jnp.argmax(jnp.stack([rows[..., i, i] for i in range(4)], axis=-1), axis=-1)
    q = jnp.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    return q / jnp.linalg.norm(q, axis=-1, keepdims=True)


def matrix_from_rotvec(v: Array) -> Array:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians."""
    q = quaternion_from_rotvec(v)
    columns = [quaternion_apply(q, jnp.broadcast_to(jnp.eye(3, dtype=v.dtype)[i], v.shape)) for i in range(3)]
    return jnp.stack(columns, axis=-1)


def rotvec_from_matrix(m: Array) -> Array:
    """Rotation vectors [..., 3] in radians of rotation matrices [..., 3, 3]."""
    return rotvec_from_quaternion(quaternion_from_matrix(m))


def matrix_from_euler(angles: Array) -> Array:
    """Rotation matrices [..., 3, 3] = Rx(a) Ry(b) Rz(c) of angles [..., 3] = (a, b, c) in radians."""
    (cx, cy, cz), (sx, sy, sz) = (jnp.moveaxis(f(angles), -1, 0) for f in (jnp.cos, jnp.sin))
    rows = [
        [cy * cz, -cy * sz, sy],
        [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
        [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def euler_from_matrix(m: Array) -> Array:
    """Angles [..., 3], |b| <= pi / 2, of rotation matrices [..., 3, 3]; inverts `matrix_from_euler`."""
    sine = jnp.clip(m[..., 0, 2], -1.0, 1.0)
    return jnp.stack(
        [
            jnp.arctan2(-m[..., 1, 2], m[..., 2, 2]),
            jnp.arcsin(sine),
            jnp.arctan2(-m[..., 0, 1], m[..., 0, 0]),
        ],
        axis=-1,
    )


def turn_about_z(v: Array, yaw: Array | float) -> Array:
    """Turns the vectors v [..., 3] by `yaw` radians (a scalar) about z."""
    cos, sin = jnp.cos(yaw), jnp.sin(yaw)
    x, y, z = jnp.moveaxis(v, -1, 0)
    return jnp.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)


def yaw_from_quaternion(q: Array) -> Array:
    """The turn about z [...] in radians (of the intrinsic z-y-x angles) of unit quaternions [..., 4]."""
    w, x, y, z = jnp.moveaxis(q, -1, 0)
    return jnp.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
