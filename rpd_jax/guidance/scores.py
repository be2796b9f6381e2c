"""The teacher's distributions along tokens that students chose (VLA-OPD): `label`'s counterpart, batched alike."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.guidance.labels import asking, flat_windows
from rpd_jax.instructions import Instructions, taken
from rpd_jax.types import Array, Observation, TokenScores, TokenTeacher


def no_scores(shape: tuple[int, ...], bins: int) -> TokenScores:
    """Scores of tokens `shape` of a teacher that was not asked: every token is as likely."""
    return TokenScores(jnp.zeros((*shape, bins)), jnp.zeros(shape))


def usable(scores: TokenScores) -> Array:
    """Whether all of an action's scores [..., A, bins] are finite: bool [...]."""
    return jnp.all(jnp.isfinite(scores.logits), axis=(-2, -1))


def score_member(
    teacher: TokenTeacher,
    instructions: Instructions | str,
    observation: Observation,
    starts: Array,
    tokens: Array,
    batch_size: int,
) -> TokenScores:
    """Scores one member's tokens, in batches; can be traced where `teacher.spec.in_graph`.

    A teacher that works in the background (`begin_score`) is given all batches before the first is waited for.

    Args:
      teacher: with `spec.token_bins` tokens.
      instructions: of the N environments.
      observation: what the teacher reads, leaves [T, N, ...].
      starts: bool [T, N], an episode begins with this observation.
      tokens: int [T, N, A], the teacher's columns.
      batch_size: most observations in one call.

    Returns:
      scores with leaves [T, N, A, ...].

    Raises:
      TeacherError: the teacher failed.
    """
    horizon, num_envs = starts.shape
    flat = {name: flat_windows(x, starts, teacher.spec.history) for name, x in observation.items()}
    flat_tokens = tokens.reshape(horizon * num_envs, *tokens.shape[2:])
    begin_score = getattr(teacher, "begin_score", None)
    with asking(teacher.spec):
        waits: list[Callable[[], TokenScores]] = []
        for begin in range(0, horizon * num_envs, batch_size):
            rows = slice(begin, begin + batch_size)
            said = taken(instructions, np.arange(horizon * num_envs)[rows] % num_envs)
            batch = {name: x[rows] for name, x in flat.items()}, said, flat_tokens[rows]
            waits.append(begin_score(*batch) if begin_score else functools.partial(teacher.score, *batch))
        parts = [wait() for wait in waits]
    whole = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    return jax.tree.map(lambda x: x.reshape(horizon, num_envs, *x.shape[1:]), whole)
