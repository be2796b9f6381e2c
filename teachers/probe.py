"""A start-up check: does the simulated arm move the way the environment's action contract says?

Signs and frames of simulators change between versions (ManiSkill inverts the rotation; see `conventions`),
and a wrong one silently turns a good teacher into a bad one. Here the arm itself is moved and measured.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import numpy as np

from rpd_jax.actions import rotations
from rpd_jax.actions.contracts import check_convertible
from rpd_jax.envs.base import EnvSpec, VectorEnv
from rpd_jax.types import ActionContract, Array, Observation
from teachers import conventions

_MOVE_STEPS, _GRIP_STEPS = 2, 3  # moves at a horizon scale of 1, and grips of an arm without a lag
_AXES = ("x", "y", "z", "rotation x", "rotation y", "rotation z")


@dataclasses.dataclass(frozen=True)
class ProbeReport:
    """What was measured, medians over the environments.

    Attributes:
      displacement: [6, 6]; row i is the change (metres x 3, rotation vector in radians x 3, axes of the base)
        under the action that should move along axis i by a positive amount.
      commanded: [6]; that amount, had the arm no lag.
      width_closed, width_open: metres between the fingers after closing and opening.
    """

    displacement: np.ndarray
    commanded: np.ndarray
    width_closed: float
    width_open: float


def probe_actions(env: VectorEnv, base_yaw: float | None = None) -> ProbeReport:
    """Moves the arm along every axis and closes and opens the gripper; 24 steps of every environment.

    Begins a new episode and leaves it in the middle: `env.reset` comes next. At a horizon scale of k the moves, which
    are half of the steps, take k times as many to go as far; rests and grips take `conventions.LAG` times as many.

    Args:
      env: its observations must name "tcp_pose" and "qpos" (whose last two entries are the finger joints).
      base_yaw: turn of the robot's base about the world's z axis, radians; None: as `conventions.BASE_YAW`
        knows it.
    Raises:
      ValueError: naming the axis and what was measured, where the arm contradicts `env.spec.contract`; or
        where the environment has no contract, or lacks an observation named above.
    """
    contract = env.spec.contract
    check_convertible(contract, contract)
    assert contract is not None, "`check_convertible` refuses that"
    if base_yaw is None:
        base_yaw = conventions.BASE_YAW.get(env.spec.task, 0.0)
    walker, move_steps = _Walker(env), _MOVE_STEPS * env.spec.horizon_scale
    rest_steps = conventions.LAG.get(env.spec.suite, 1)
    still = np.zeros(env.spec.action_dim, np.float32)
    still[6] = contract.gripper_open
    rows, commanded = [], []
    for axis in range(6):
        action = still.copy()
        action[axis] = _amplitude(contract) * (contract.rotation_sign if axis >= 3 else 1)
        scale = contract.translation_scale if axis < 3 else contract.rotation_scale
        commanded.append(abs(float(action[axis])) * scale * move_steps)
        before = walker.pose()
        walker.walk(action, move_steps)
        rows.append(_change(before, walker.pose(), base_yaw))
        walker.walk(still, rest_steps)
    widths = []
    for value in (contract.gripper_closed, contract.gripper_open):
        still[6] = value
        walker.walk(still, _GRIP_STEPS * rest_steps)
        widths.append(walker.width())
    alive = walker.alive
    if not alive.any():
        raise ValueError(f"every environment of {env.spec.name} ended its episode while it was probed")
    report = ProbeReport(
        displacement=np.stack([np.median(row[alive], axis=0) for row in rows]),
        commanded=np.asarray(commanded),
        width_closed=float(np.median(widths[0][alive])),
        width_open=float(np.median(widths[1][alive])),
    )
    check_report(report, env.spec.name)
    return report


def check_report(report: ProbeReport, name: str) -> None:
    """Raises ValueError where the measurements contradict the contract; `name` is the environment's."""
    for axis, label in enumerate(_AXES):
        part = slice(0, 3) if axis < 3 else slice(3, 6)
        moved, unit = report.displacement[axis, part], "m" if axis < 3 else "rad"
        along = moved[axis % 3]
        told = f"{report.commanded[axis]:.3g} {unit} were commanded, ({_list(moved)}) {unit} measured in {name}"
        if np.linalg.norm(moved) < 0.05 * report.commanded[axis]:
            raise ValueError(f"axis {label} does not move: {told}; check the contract's scale")
        if along < 0 and abs(along) > 0.8 * np.linalg.norm(moved):
            hint = "rotation_sign" if axis >= 3 else "the direction of the frame"
            raise ValueError(f"axis {label} moves backwards: {told}; check the contract's {hint}")
        if along < 0.8 * np.linalg.norm(moved):
            raise ValueError(f"axis {label} moves along another axis: {told}; check the contract's frame")
        if along > 1.5 * report.commanded[axis]:
            raise ValueError(f"axis {label} moves too far: {told}; check the contract's scale")
    if not report.width_open > report.width_closed + 0.01:
        raise ValueError(
            f"gripper: the fingers of {name} are {report.width_closed:.3f} m apart after closing and "
            f"{report.width_open:.3f} m after opening; check the contract's gripper_closed and gripper_open"
        )


class _Walker:
    """Steps all environments with one action and remembers which are still in their first episode."""

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self._pose, self._qpos = (_locate(env.spec, name, n) for name, n in (("tcp_pose", 7), ("qpos", None)))
        self._observation: Observation = env.reset()
        self.alive = np.ones(env.num_envs, bool)

    def walk(self, action: np.ndarray, steps: int) -> None:
        for _ in range(steps):
            result = self._env.step(np.tile(action, (self._env.num_envs, 1)))
            self._observation = result.final_observation
            self.alive &= ~(np.asarray(result.terminated) | np.asarray(result.truncated))

    def pose(self) -> np.ndarray:
        return self._read(self._pose)

    def width(self) -> np.ndarray:
        return self._read(self._qpos)[:, -2:].sum(axis=1)

    def _read(self, where: tuple[str, int, int]) -> np.ndarray:
        key, low, high = where
        return np.array(self._observation[key])[:, low:high]


def _locate(spec: EnvSpec, name: str, length: int | None) -> tuple[str, int, int]:
    for key in ("proprio", "state"):
        if name in spec.layout.get(key, {}):
            low, high = spec.layout[key][name]
            if length is not None and high - low != length:
                raise ValueError(f"layout of {name!r} in {spec.name} has {high - low} entries: {length} are needed")
            return key, low, high
    raise ValueError(f"{spec.name} names no {name!r} in its layout of 'proprio' or 'state': it cannot be probed")


def _amplitude(contract: ActionContract) -> float:
    """The largest action that the box allows both ways; one where there is none."""
    bounds = [abs(b) for b in (contract.low, contract.high) if b is not None]
    return min([*bounds, 1.0])


def _change(before: np.ndarray, after: np.ndarray, base_yaw: float) -> np.ndarray:
    """Change of pose [B, 6] from poses [B, 7], in the axes of the base."""
    change = np.stack([after[:, :3] - before[:, :3], np.asarray(_turn(before[:, 3:], after[:, 3:]))], axis=1)
    cos, sin = math.cos(base_yaw), math.sin(base_yaw)
    into_base = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return (change @ into_base.T).reshape(-1, 6)


@jax.jit  # one small program instead of twenty
def _turn(before: Array, after: Array) -> Array:
    return rotations.rotvec_from_quaternion(rotations.quaternion_multiply(after, rotations.quaternion_inverse(before)))


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
