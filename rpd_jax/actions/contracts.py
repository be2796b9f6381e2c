"""What the seven numbers of an action mean in one place, said in the terms of another.

A teacher or a student speaks the contract that it was trained in, the environment another one; `convert` translates.
Every difference that is not named in the contracts (the axes of the frame, say) is refused by `check_convertible`.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from rpd_jax.actions import rotations
from rpd_jax.types import ActionContract, ActionStatistics, Array

ROTATION_FORMS = ("euler_xyz", "axis_angle")
FRAMES = ("base",)
GRIPPER_MODES = ("fixed", "reference")
CUT_SHORT = 0.05  # of the box's width: what lies further outside is cut short by clipping, not rounded
_SIZE = 7


def convert(action: Array, source: ActionContract, target: ActionContract, gripper: str = "fixed") -> Array:
    """Says an action of `source` in the terms of `target`.

    In this order: de-normalised, translation rescaled, rotation turned into a matrix and back into the
    target's form, gripper mapped, normalised if the target is, clipped to the target's box elementwise.

    Args:
      action: [..., 7], any leading axes.
      source: what the numbers mean.
      target: what they are to mean.
      gripper: "fixed" maps closed to closed and open to open, affinely; "reference" passes the de-normalised
        gripper on as it is, as the public RPD code does.
    Returns:
      [..., 7], of the dtype of `action`.
    Raises:
      ValueError: see `check_convertible`; also for an action without seven entries, and another `gripper`.
    """
    return converted(action, source, target, gripper)[0]


def converted(
    action: Array, source: ActionContract, target: ActionContract, gripper: str = "fixed"
) -> tuple[Array, Array]:
    """As `convert`, and where clipping cut an action short: bool [...].

    That is where an entry lies outside of the target's box by more than `CUT_SHORT` of its width: by less a gripper
    that is predicted as a number is outside all the time. A target without both bounds cuts nothing short.
    """
    check_convertible(source, target)
    if gripper not in GRIPPER_MODES:
        raise ValueError(f"gripper={gripper!r}: choose from {GRIPPER_MODES}")
    action = jnp.asarray(action)
    if action.ndim < 1 or action.shape[-1] != _SIZE:
        raise ValueError(f"action of shape {action.shape}: the last axis must have {_SIZE} entries")
    raw = _denormalise(action, source.statistics)
    move = raw[..., :3] * (source.translation_scale / target.translation_scale)
    turn = _convert_rotation(raw[..., 3:6], source, target)
    grip = raw[..., 6:]
    if gripper == "fixed":
        share = (grip - source.gripper_closed) / (source.gripper_open - source.gripper_closed)
        grip = target.gripper_closed + share * (target.gripper_open - target.gripper_closed)
    whole = _normalise(jnp.concatenate([move, turn, grip], axis=-1), target.statistics)
    inside = clip(whole, target)
    low, high = target.low, target.high
    tolerance = math.inf if low is None or high is None else CUT_SHORT * (high - low)
    return inside.astype(action.dtype), jnp.any(jnp.abs(whole - inside) > tolerance, axis=-1)


def clip(action: Array, contract: ActionContract) -> Array:
    """Actions [..., 7] limited to the contract's box, elementwise; as they are on a side where it has no bound."""
    return jnp.clip(action, contract.low, contract.high)


def convert_std(std: Array, source: ActionContract, target: ActionContract, gripper: str = "fixed") -> Array:
    """Says standard deviations [..., 7] of `source` in the units of `target`.

    The slope of `convert` at small angles, inside the box. Raises ValueError as `convert` does.
    """
    check_convertible(source, target)
    if gripper not in GRIPPER_MODES:
        raise ValueError(f"gripper={gripper!r}: choose from {GRIPPER_MODES}")
    grip = 1.0
    if gripper == "fixed":
        grip = (target.gripper_open - target.gripper_closed) / (source.gripper_open - source.gripper_closed)
    units = [source.translation_scale / target.translation_scale] * 3
    units += [source.rotation_scale / target.rotation_scale] * 3 + [abs(grip)]
    std = jnp.asarray(std)
    slope = _slope(source.statistics) * np.asarray(units) / _slope(target.statistics)
    return std * _like(slope, std)


def check_convertible(source: ActionContract | None, target: ActionContract | None) -> None:
    """Raises ValueError where `convert` cannot be exact, naming the field, its value and what is right."""
    for side, contract in (("source", source), ("target", target)):
        if contract is None:
            raise ValueError(
                f"{side} contract is None: only end-effector delta actions can be converted; "
                'use a control mode that has a contract, such as "pd_ee_delta_pose"'
            )
        _check(side, contract)
    assert source is not None and target is not None
    if source.frame != target.frame:
        raise ValueError(f"source.frame={source.frame!r}, target.frame={target.frame!r}: the same frame is needed")


def _check(side: str, contract: ActionContract) -> None:
    for name in ("translation_scale", "rotation_scale"):
        value = getattr(contract, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{side}.{name}={value!r}: must be positive and finite (signs go to rotation_sign)")
    if contract.rotation_form not in ROTATION_FORMS:
        raise ValueError(f"{side}.rotation_form={contract.rotation_form!r}: choose from {ROTATION_FORMS}")
    if contract.rotation_sign not in (1, -1):
        raise ValueError(f"{side}.rotation_sign={contract.rotation_sign!r}: must be 1 or -1")
    if contract.frame not in FRAMES:
        raise ValueError(f"{side}.frame={contract.frame!r}: choose from {FRAMES}")
    closed, opened = contract.gripper_closed, contract.gripper_open
    if not (math.isfinite(closed) and math.isfinite(opened)) or closed == opened:
        raise ValueError(f"{side}.gripper_closed={closed!r}, gripper_open={opened!r}: must be finite and differ")
    low, high = contract.low, contract.high
    if low is not None and high is not None and not low < high:
        raise ValueError(f"{side}.low={low!r}, high={high!r}: low must be less than high")
    if contract.statistics is not None:
        _check_statistics(f"{side}.statistics", contract.statistics)


def _check_statistics(side: str, statistics: ActionStatistics) -> None:
    if statistics.kind not in ("normal", "bounds"):
        raise ValueError(f"{side}.kind={statistics.kind!r}: choose from ('normal', 'bounds')")
    for name in ("offset_or_low", "scale_or_high", "mask"):
        value = getattr(statistics, name)
        if len(value) != _SIZE:
            raise ValueError(f"{side}.{name} has {len(value)} entries: {_SIZE} are needed")
        if not np.isfinite(np.asarray(value, float)).all():
            raise ValueError(f"{side}.{name}={value!r}: must be finite")
    wrong = np.flatnonzero((_slope(statistics) <= 0) & np.asarray(statistics.mask, bool))
    if wrong.size:
        what = "scale" if statistics.kind == "normal" else "high minus low"
        raise ValueError(f"{side}: {what} of dimension {wrong[0]} is not positive; mask it or correct it")


def _slope(statistics: ActionStatistics | None) -> np.ndarray:
    """De-normalised units per normalised unit, [7]."""
    if statistics is None:
        return np.ones(_SIZE)
    first, second = np.asarray(statistics.offset_or_low, float), np.asarray(statistics.scale_or_high, float)
    slope = second if statistics.kind == "normal" else (second - first) / 2.0
    return np.where(np.asarray(statistics.mask, bool), slope, 1.0)


def _offset(statistics: ActionStatistics | None) -> np.ndarray:
    """What a normalised zero stands for, [7]."""
    if statistics is None:
        return np.zeros(_SIZE)
    first, second = np.asarray(statistics.offset_or_low, float), np.asarray(statistics.scale_or_high, float)
    offset = first if statistics.kind == "normal" else (first + second) / 2.0
    return np.where(np.asarray(statistics.mask, bool), offset, 0.0)


def _denormalise(action: Array, statistics: ActionStatistics | None) -> Array:
    return action * _like(_slope(statistics), action) + _like(_offset(statistics), action)


def _normalise(action: Array, statistics: ActionStatistics | None) -> Array:
    return (action - _like(_offset(statistics), action)) / _like(_slope(statistics), action)


def _like(row: np.ndarray, action: Array) -> Array:
    return jnp.broadcast_to(jnp.asarray(row, action.dtype), action.shape)


def _convert_rotation(turn: Array, source: ActionContract, target: ActionContract) -> Array:
    angles = turn * (source.rotation_sign * source.rotation_scale)
    if source.rotation_form != target.rotation_form:
        if source.rotation_form == "euler_xyz":
            angles = rotations.rotvec_from_matrix(rotations.matrix_from_euler(angles))
        else:
            angles = rotations.euler_from_matrix(rotations.matrix_from_rotvec(angles))
    return angles / (target.rotation_sign * target.rotation_scale)
