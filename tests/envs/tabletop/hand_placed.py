"""What the tasks' tests share: views made by hand, and where episodes begin."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from rpd_jax.envs.tabletop.task import Placement, View
from rpd_jax.envs.tabletop.tasks import load


def fall(distance: float, slope: float = 5.0) -> float:
    """1 - tanh(slope * distance), in Python's own numbers."""
    return 1.0 - math.tanh(slope * distance)


def at(x: float, y: float, z: float, yaw: float = 0.0) -> np.ndarray:
    """A pose [7], turned about z."""
    return np.array([x, y, z, math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)], np.float32)


def see(
    task: str,
    *,
    tcp: Sequence[float] = (0.0, 0.0, 0.0),
    speed: Sequence[float] = (0.0,) * 6,
    fingers: float = 0.04,
    pose: Mapping[str, Sequence[float]],
    velocity: Mapping[str, Sequence[float]] | None = None,
    grasped: bool = False,
    goal: Mapping[str, Sequence[float]] | None = None,
) -> View:
    """The view of a hand that points down at `tcp`; what is not given is at rest. `grasped` is that of every body."""
    names = [body.name for body in load(task).scene.bodies]
    return View(
        tcp=np.array([*tcp, 0.0, 1.0, 0.0, 0.0], np.float32),
        joint_speed=np.asarray(speed, np.float32),
        fingers=np.full(2, fingers, np.float32),
        pose={name: np.asarray(pose[name], np.float32) for name in names},
        velocity={name: np.asarray((velocity or {}).get(name, (0.0,) * 6), np.float32) for name in names},
        grasped={name: np.asarray(grasped) for name in names},
        goal={name: np.asarray(value, np.float32) for name, value in (goal or {}).items()},
    )


@functools.cache
def rules(task: str) -> Callable[[View], tuple[jax.Array, jax.Array]]:
    """(dense reward, success) of a task, compiled."""
    its = load(task)
    return jax.jit(lambda view: (its.dense(view, its.success(view)), its.success(view)))


def judge(task: str, view: View) -> tuple[float, bool]:
    """(dense reward, success) of a view."""
    reward, success = rules(task)(view)
    return float(reward), bool(success)


def placements(task: str, count: int = 500) -> Placement:
    """How `count` episodes begin, as numpy arrays [count, ...]."""
    begun = jax.jit(jax.vmap(load(task).place))(jax.random.split(jax.random.key(0), count))
    return jax.tree.map(np.asarray, begun)


def check_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Asserts that values [N], 500 or more, lie in the range, fill it, and have its mean.

    The outermost 2 % stay empty with a chance of 0.98^500 = 4e-5; the mean's standard error is 1.3 % of the range.
    """
    share = (values - low) / (high - low)
    assert share.min() >= -1e-5 and share.max() <= 1.0 + 1e-5
    assert share.min() < 0.02 and share.max() > 0.98
    assert abs(share.mean() - 0.5) < 0.05


def yaws(poses: np.ndarray) -> np.ndarray:
    """Turns about z of poses [N, 7] that are turned about z only."""
    np.testing.assert_allclose(poses[:, 4:6], 0.0, atol=1e-7)
    return 2.0 * np.arctan2(poses[:, 6], poses[:, 3])
