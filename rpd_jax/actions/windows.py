"""Windows: an answer becomes the targets of the next D control steps, part by part (VLAJS), or those of its chunk.

Translation is interpolated linearly and the rotation spherically, from nothing to the whole delta; the gripper is
held. Each step takes an equal part, and the D parts one after the other make the delta. A chunk of at least D actions
is a plan for them already.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rpd_jax.actions import rotations
from rpd_jax.actions.contracts import clip
from rpd_jax.types import ActionContract, Array, TeacherLabels


def part(action: Array, share: Array | float, source: ActionContract, target: ActionContract) -> Array:
    """An equal part of a delta: `share` = 1 / D of it, so that D of them compose to it.

    Since the rotation's axis stays, slerp(1, q, (k + 1) share) slerp(1, q, k share)^-1 is the same for every k.

    Args:
      action: [..., 7] in `source`.
      share: in [0, 1], a scalar.
      source: what the numbers of the delta mean.
      target: what those of the result are to mean, another scale perhaps; the result is limited to its box.
    """
    assert source.statistics is None and target.statistics is None, "environments do not normalise their actions"
    turn = _turn_of(action[..., 3:6], source)
    turn = rotations.slerp(_identity_like(turn), turn, share)
    move = action[..., :3] * (share * source.translation_scale / target.translation_scale)
    return clip(jnp.concatenate([move, _numbers_of(turn, target), action[..., 6:]], axis=-1), target)


def hold(answers: TeacherLabels, asked: Array, starts: Array, window: Array | int) -> TeacherLabels:
    """Targets of one environment's trajectory: each step has the last answer that is less than `window` steps old.

    Of an answer with several actions it has the one that is meant for this step; one alone is meant for all of them.

    An answer holds no longer than its episode, nor than the rollout, and the next answer takes its place; steps without
    one are not valid.

    Args:
      answers: leaves [T, S, ...], of S actions each, of which those where `asked` count; S is 1 or at least `window`.
      asked: bool [T].
      starts: bool [T], an episode begins with this observation.
      window: D, a scalar.
    """
    chex.assert_rank([asked, starts], 1)
    steps = jnp.arange(len(asked))
    last = jnp.maximum.accumulate(jnp.where(asked, steps, -1))
    episode = jnp.maximum.accumulate(jnp.where(starts, steps, 0))
    covered = (last >= episode) & (steps - last < window)
    age = jnp.minimum(steps - last, answers.valid.shape[1] - 1)
    held = jax.tree.map(lambda x: x[jnp.maximum(last, 0), age], answers)
    valid = covered & held.valid
    return held._replace(
        action=jnp.where(valid[:, None], held.action, 0.0),
        valid=valid,
        std=jnp.where(valid[:, None], held.std, 1.0),
    )


def _turn_of(numbers: Array, contract: ActionContract) -> Array:
    """Quaternions [..., 4] of the rotation part [..., 3] of actions."""
    angles = numbers * (contract.rotation_sign * contract.rotation_scale)
    form = (
        rotations.quaternion_from_rotvec if contract.rotation_form == "axis_angle" else rotations.quaternion_from_euler
    )
    return form(angles)


def _numbers_of(turn: Array, contract: ActionContract) -> Array:
    """The inverse of `_turn_of`."""
    angles = rotations.rotvec_from_quaternion(turn)
    if contract.rotation_form == "euler_xyz":
        angles = rotations.euler_from_matrix(rotations.matrix_from_rotvec(angles))
    return angles / (contract.rotation_sign * contract.rotation_scale)


def _identity_like(q: Array) -> Array:
    return jnp.broadcast_to(jnp.array([1.0, 0.0, 0.0, 0.0], q.dtype), q.shape)
