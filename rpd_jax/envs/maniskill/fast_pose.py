"""ManiSkill's rotations and poses, for one pose on the CPU; see `fast`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mani_skill.agents.controllers import pd_ee_pose
from mani_skill.utils.geometry import rotation_conversions
from mani_skill.utils.structs import actor, link, pose
from sapien import Pose as SapienPose

_ZERO, _ONE, _TWO, _TENTH = (np.float32(value) for value in (0, 1, 2, 0.1))

_ALONE = "_is_alone"

_slow_raw_multiply = rotation_conversions.quaternion_raw_multiply
_slow_multiply = rotation_conversions.quaternion_multiply
_slow_to_matrix = rotation_conversions.quaternion_to_matrix
_slow_to_quaternion = rotation_conversions.matrix_to_quaternion
_slow_euler = rotation_conversions.euler_angles_to_matrix
_slow_create = pose.Pose.create.__func__
_slow_create_from_pq = pose.Pose.create_from_pq.__func__
_slow_times = pose.Pose.__mul__
_slow_inv = pose.Pose.inv
_slow_transformation = pose.Pose.to_transformation_matrix
_slow_actor_pose = actor.Actor.pose.fget
_slow_link_pose = link.Link.pose.fget


def is_single(tensor: Any, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.shape == shape
        and tensor.dtype == torch.float32
        and not tensor.is_cuda
    )


def _tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.array([values], np.float32))


# Of quaternions (w, x, y, z) and vectors, whose components are numpy's scalars.


def _product(p: Iterable[np.float32], q: Iterable[np.float32]) -> tuple[np.float32, ...]:
    """Hamilton's, added from the left, which is the order that decides the last bits."""
    aw, ax, ay, az = p
    bw, bx, by, bz = q
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def _turned(q: Iterable[np.float32], vector: Iterable[np.float32]) -> tuple[np.float32, ...]:
    w, x, y, z = q
    return _product(_product((w, x, y, z), (_ZERO, *vector)), (w, -x, -y, -z))[1:]


def _standard(q: tuple[np.float32, ...]) -> tuple[np.float32, ...]:
    w, x, y, z = q
    return (-w, -x, -y, -z) if w < 0 else q


def _quaternion(matrix: np.ndarray) -> tuple[np.float32, ...]:
    """From the largest of twice |w|, |x|, |y| and |z|; square roots are torch's, whose rounding is its own."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    squares = (_ONE + a + e + i, _ONE + a - e - i, _ONE - a + e - i, _ONE - a - e + i)
    positive = np.array([square for square in squares if square > 0], np.float32)
    roots = iter(torch.sqrt(torch.from_numpy(positive)).numpy())
    twice = [next(roots) if square > 0 else _ZERO for square in squares]
    n = twice.index(max(twice))
    t = twice[n]
    rows = (
        (t * t, h - f, c - g, d - b),
        (h - f, t * t, d + b, c + g),
        (c - g, d + b, t * t, f + h),
        (d - b, g + c, h + f, t * t),
    )
    divisor = _TWO * max(t, _TENTH)
    return _standard(tuple(value / divisor for value in rows[n]))


# Functions of `rotation_conversions`.


def quaternion_raw_multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    if not (is_single(left, (1, 4)) and is_single(right, (1, 4))):
        return _slow_raw_multiply(left, right)
    return _tensor(_product(left.numpy()[0], right.numpy()[0]))


def quaternion_multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    if not (is_single(left, (1, 4)) and is_single(right, (1, 4))):
        return _slow_multiply(left, right)
    return _tensor(_standard(_product(left.numpy()[0], right.numpy()[0])))


def quaternion_to_matrix(quaternions: torch.Tensor) -> torch.Tensor:
    """1 + s (v v^T - |v|^2 + w [v]x), s = 2 / |q|^2."""
    if not is_single(quaternions, (1, 4)):
        return _slow_to_matrix(quaternions)
    s = _TWO / (quaternions * quaternions).sum(-1).numpy()[0]
    w, x, y, z = quaternions.numpy()[0]
    xx, yy, zz, xy, xz, yz, wx, wy, wz = x * x, y * y, z * z, x * y, x * z, y * z, w * x, w * y, w * z
    rows = [
        [_ONE - s * (yy + zz), s * (xy - wz), s * (xz + wy)],
        [s * (xy + wz), _ONE - s * (xx + zz), s * (yz - wx)],
        [s * (xz - wy), s * (yz + wx), _ONE - s * (xx + yy)],
    ]
    return _tensor(rows)


def matrix_to_quaternion(matrix: torch.Tensor) -> torch.Tensor:
    if not is_single(matrix, (1, 3, 3)):
        return _slow_to_quaternion(matrix)
    return _tensor(_quaternion(matrix.numpy()[0]))


def euler_angles_to_matrix(euler_angles: torch.Tensor, convention: str) -> torch.Tensor:
    """Sines, cosines and products of matrices are torch's, whose rounding is its own."""
    if convention != "XYZ" or not is_single(euler_angles, (1, 3)):
        return _slow_euler(euler_angles, convention)
    cx, cy, cz = torch.cos(euler_angles).numpy()[0]
    sx, sy, sz = torch.sin(euler_angles).numpy()[0]
    about_x = _tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = _tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = _tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return torch.matmul(torch.matmul(about_x, about_y), about_z)


# Methods of `Pose`, and the property `pose` of `Actor` and `Link`.


def create_pose(cls: type, value: Any, device: Any = None) -> Any:
    single = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(single, SapienPose) or (device is not None and torch.device(device).type != "cpu"):
        return _slow_create(cls, value, device)
    return _from_sapien(single)


def create_from_pq(cls: type, p: Any = None, q: Any = None, device: Any = None) -> Any:
    if not (device is None and is_single(p, (1, 3)) and is_single(q, (1, 4))):
        return _slow_create_from_pq(cls, p, q, device)
    return cls(raw_pose=torch.hstack([p, q]))


def times(self: Any, other: Any) -> Any:
    other = _from_sapien(other) if isinstance(other, SapienPose) else other
    if not (type(other) is pose.Pose and is_single(self.raw_pose, (1, 7)) and is_single(other.raw_pose, (1, 7))):
        return _slow_times(self, other)
    first, second = self.raw_pose.numpy()[0], other.raw_pose.numpy()[0]
    moved = [a + b for a, b in zip(first[:3], _turned(first[3:], second[:3]), strict=True)]
    return pose.Pose(raw_pose=_tensor([*moved, *_standard(_product(first[3:], second[3:]))]))


def inv(self: Any) -> Any:
    if not is_single(self.raw_pose, (1, 7)):
        return _slow_inv(self)
    px, py, pz, w, x, y, z = self.raw_pose.numpy()[0]
    inverse = (w, -x, -y, -z)
    return pose.Pose(raw_pose=_tensor([*_turned(inverse, (-px, -py, -pz)), *inverse]))


def moved_and_turned(start: Any, motion: torch.Tensor) -> Any | None:
    """The pose `start` moved by the first three of [1, 6] and turned by the others, Euler angles, in the base's axes.

    None where that is not single.
    """
    if not (is_single(motion, (1, 6)) and is_single(start.raw_pose, (1, 7))):
        return None
    turn = _quaternion(euler_angles_to_matrix(motion[:, 3:], "XYZ").numpy()[0])
    before = start.raw_pose.numpy()[0]
    raw = np.empty((1, 7), np.float32)
    raw[0, :3] = before[:3] + motion.numpy()[0, :3]
    raw[0, 3:] = _standard(_product(turn, before[3:]))
    return pose.Pose(raw_pose=torch.from_numpy(raw))


def to_transformation_matrix(self: Any) -> torch.Tensor:
    if not is_single(self.raw_pose, (1, 7)):
        return _slow_transformation(self)
    matrix = np.zeros((1, 4, 4), np.float32)
    matrix[:, :3, :3] = quaternion_to_matrix(self.q).numpy()
    matrix[:, :3, 3] = self.p.numpy()
    matrix[:, 3, 3] = 1
    return torch.from_numpy(matrix)


def actor_pose(self: Any) -> Any:
    return _from_sapien(self._objs[0].pose) if is_alone(self) else _slow_actor_pose(self)


def link_pose(self: Any) -> Any:
    return _from_sapien(self._objs[0].entity_pose) if is_alone(self) else _slow_link_pose(self)


def is_alone(struct: Any) -> bool:
    """Whether an `Actor`, a `Link` or an `Articulation` is that of one environment on the CPU, for good."""
    if (alone := struct.__dict__.get(_ALONE)) is None:
        scene = struct.scene
        alone = len(struct._objs) == 1 and not scene.gpu_sim_enabled and scene.device.type == "cpu"
        struct.__dict__[_ALONE] = alone
    return alone


def _from_sapien(value: SapienPose) -> Any:
    raw = np.empty((1, 7), np.float32)
    raw[0, :3] = value.p
    raw[0, 3:] = value.q
    return pose.Pose(raw_pose=torch.from_numpy(raw))


_FUNCTIONS = (
    quaternion_raw_multiply,
    quaternion_multiply,
    quaternion_to_matrix,
    matrix_to_quaternion,
    euler_angles_to_matrix,
)
REPLACED: tuple[tuple[Any, str, Any], ...] = (
    *(
        (module, function.__name__, function)
        for module in (rotation_conversions, pose, pd_ee_pose)
        for function in _FUNCTIONS
        if hasattr(module, function.__name__)
    ),
    (pose.Pose, "create", classmethod(create_pose)),
    (pose.Pose, "create_from_pq", classmethod(create_from_pq)),
    (pose.Pose, "__mul__", times),
    (pose.Pose, "inv", inv),
    (pose.Pose, "to_transformation_matrix", to_transformation_matrix),
    (actor.Actor, "pose", property(actor_pose, actor.Actor.pose.fset)),
    (link.Link, "pose", property(link_pose, link.Link.pose.fset)),
)
