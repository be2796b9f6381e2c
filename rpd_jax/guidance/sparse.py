"""Sparse labels: the teacher is queried at a few steps of a rollout, and its answers are spread over windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.actions import windows
from rpd_jax.actions.contracts import convert_std
from rpd_jax.guidance.labels import cut_short, label_steps, member_key, no_labels
from rpd_jax.guidance.settings import Guidance
from rpd_jax.instructions import Instructions, taken
from rpd_jax.types import ActionContract, Array, Observation, Teacher, TeacherLabels

See = Callable[[Array, Array], Observation]
"""What the teacher reads at steps t [B] of environments n [B]: leaves [B, ...]."""


class Asked(NamedTuple):
    """The queries of one member's rollout on the host, in the order of steps, then environments."""

    where: np.ndarray  # bool [T, N]
    observation: Observation  # leaves [Q, ...]


def ask_in_graph(
    teacher: Teacher,
    instructions: Instructions | str,
    see: See,
    where: Array,
    seed: Array,
    iteration: Array,
    batch_size: int,
    most: int,
    action_dim: int,
    actions: int = 1,
) -> TeacherLabels:
    """Answers [T, N, S, ...] to one member's queries as part of a program; costs what they cost, in whole batches.

    Args:
      teacher: can be traced.
      instructions: of the N environments.
      see: called for the queried steps only; frames are drawn there.
      where: bool [T, N]. The labels elsewhere are not valid.
      seed, iteration: of the member and the run, see `labels.label_member`.
      batch_size: observations in one call.
      most: queries that there can be.
      action_dim: A.
      actions: S of each answer, see `labels.label_steps`.
    """
    length, num_envs = where.shape
    batches = -(-most // batch_size)
    # Beyond the last query the indices are out of range, and what would be written there is dropped.
    steps, envs = jnp.nonzero(where, size=batches * batch_size, fill_value=length)
    key = member_key(seed, iteration)

    def body(i: Array, answers: TeacherLabels) -> TeacherLabels:
        t, n = (jax.lax.dynamic_slice_in_dim(x, i * batch_size, batch_size) for x in (steps, envs))
        rows = jnp.minimum(n, num_envs - 1)
        seen, said = see(jnp.minimum(t, length - 1), rows), taken(instructions, rows)
        labels = label_steps(teacher, _with_history(seen, teacher), said, jax.random.fold_in(key, i), actions)
        return jax.tree.map(lambda x, y: x.at[t, n].set(y, mode="drop"), answers, labels)

    blank = no_labels((length, num_envs, actions), action_dim)
    return jax.lax.fori_loop(0, -(-jnp.sum(where) // batch_size), body, blank)


def ask_on_host(
    teacher: Teacher,
    instructions: Instructions | str,
    asked: Asked,
    seed: int,
    iteration: int,
    batch_size: int,
    action_dim: int,
    actions: int = 1,
) -> TeacherLabels:
    """Answers [T, N, S, ...] to one member's queries, in the batches of `ask_in_graph`; the last may be smaller."""
    answers = jax.tree.map(np.array, no_labels((*asked.where.shape, actions), action_dim))
    steps, envs = np.nonzero(asked.where)
    key = member_key(seed, iteration)
    for i, begin in enumerate(range(0, len(steps), batch_size)):
        rows = slice(begin, begin + batch_size)
        seen = {name: x[rows] for name, x in asked.observation.items()}
        count, who = len(steps[rows]), envs[rows]
        if teacher.spec.in_graph:  # whole batches, so that no program is compiled for the rest, nor draws differ
            whole = np.minimum(np.arange(batch_size), count - 1)
            seen, who = {name: x[whole] for name, x in seen.items()}, who[whole]
        said = taken(instructions, who)
        labels = label_steps(teacher, _with_history(seen, teacher), said, jax.random.fold_in(key, i), actions)
        labels = jax.device_get(labels)
        for array, values in zip(answers, labels, strict=True):
            array[steps[rows], envs[rows]] = values[:count]
    return answers


def targets(
    answers: TeacherLabels,
    where: Array,
    starts: Array,
    guidance: Guidance,
    contracts: tuple[ActionContract, ActionContract] | None,
) -> TeacherLabels:
    """Targets [T, N, ...] of one member from its answers [T, N, S, ...], see `windows`.

    Args:
      answers: those where `where` count.
      where, starts: bool [T, N], the queries and the beginnings of episodes.
      guidance: the member's.
      contracts: an environment's `undivided_contract`, which answers of one action are whole deltas of, and its
        `contract`, in which each step of a window takes an equal part of one. None: the window's steps take the
        actions of the answer's chunk, one after the other.

    The standard deviations of translation and rotation are divided like the deltas; the gripper's are as they were.
    """
    if contracts is not None:
        share = 1.0 / guidance.window
        answers = answers._replace(
            action=windows.part(answers.action, share, *contracts),
            std=convert_std(answers.std, *contracts) * jnp.where(jnp.arange(7) < 6, share, 1.0)[None, None, None],
        )
    held = jax.vmap(windows.hold, in_axes=(1, 1, 1, None), out_axes=1)
    return held(answers, where, starts, guidance.window)


def cost(answers: TeacherLabels, where: Array) -> tuple[Array, Array]:
    """How many of the queries where [T, N] had an answer that could not be used, and one that was cut short."""
    return jnp.sum(where & ~jnp.any(answers.valid, axis=-1)), jnp.sum(where & jnp.any(cut_short(answers), axis=-1))


def _with_history(observation: Observation, teacher: Teacher) -> Observation:
    """A query stands alone: the observation takes the place of those before it, as at the beginning of an episode."""
    history = teacher.spec.history
    if history == 1:
        return observation
    return {name: jnp.repeat(jnp.asarray(x)[:, None], history, axis=1) for name, x in observation.items()}
