"""The end-effector observation: what every suite can say about hand, objects and goals, without the arm's joints.

A policy on it can act in another suite than the one it was trained in. Rotations are the first two columns of the
matrix (Zhou et al., arXiv 1812.07035): no two numbers for one orientation. Metres, world axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.types import Array


def observe(entries: Mapping[str, Array], width: Array, objects: Sequence[str], goals: Sequence[str]) -> Array:
    """The observation [*B, D] of a state's named entries [*B, n]; `sizes` says what its parts are.

    Args:
      entries: holds "tcp_pose" [*B, 7], the poses [*B, 7] of `objects`, the positions [*B, 3] of `goals`.
      width: [*B], metres between the fingers.
      objects: names of poses.
      goals: names of positions.
    """
    tcp = entries["tcp_pose"]
    parts = [tcp[..., :3], _columns(tcp[..., 3:]), width[..., None]]
    for name in objects:
        pose = entries[name]
        parts += [pose[..., :3], _columns(pose[..., 3:]), pose[..., :3] - tcp[..., :3]]
    for name in goals:
        parts += [entries[name], entries[name] - entries[objects[0]][..., :3]]
    return jnp.concatenate(parts, axis=-1)


def sizes(objects: Sequence[str], goals: Sequence[str]) -> dict[str, int]:
    """Names and lengths of the parts, in order."""
    parts = {"tcp_pos": 3, "tcp_rotation": 6, "width": 1}
    for name in objects:
        parts |= {f"{name}_position": 3, f"{name}_rotation": 6, f"tcp_to_{name}": 3}
    for name in goals:
        parts |= {name: 3, f"{objects[0]}_to_{name}": 3}
    return parts


def _columns(quaternion: Array) -> Array:
    """The first two columns [*B, 6] of the rotation matrices of quaternions [*B, 4]."""
    axes = (jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0]))
    shape = (*quaternion.shape[:-1], 3)
    turned = [rotations.quaternion_apply(quaternion, jnp.broadcast_to(axis, shape)) for axis in axes]
    return jnp.concatenate(turned, axis=-1)
