"""Teacher labels: each transition that needs a label gets one, once per rollout, in large batches."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.instructions import Instructions, taken
from rpd_jax.ipc.text import one_line
from rpd_jax.keys import stream
from rpd_jax.placement import spread
from rpd_jax.types import Array, ChunkTeacher, Observation, Teacher, TeacherError, TeacherLabels, TeacherSpec

LARGEST_ACTION = 100.0  # a hundred times the box of an end-effector delta: no teacher means that
STD_RANGE = (1e-6, 1e6)  # beyond it the losses that read a teacher's std are not finite in float32


@functools.partial(jax.jit, inline=True)  # outside of programs one of its own instead of a dozen
def checked(labels: TeacherLabels) -> TeacherLabels:
    """Labels [..., A] of which those that no loss could bear are no longer valid; every kind of teacher's pass here.

    They are those with an action that is not finite or beyond `LARGEST_ACTION`, or a standard deviation that is not
    finite, not positive or outside `STD_RANGE`. What is not valid is neutral: action 0, std 1, not clipped.
    """
    low, high = STD_RANGE
    bearable = (jnp.abs(labels.action) <= LARGEST_ACTION) & (labels.std >= low) & (labels.std <= high)
    valid = labels.valid & jnp.all(bearable, axis=-1)
    return TeacherLabels(
        action=jnp.where(valid[..., None], labels.action, 0.0),
        valid=valid,
        std=jnp.where(valid[..., None], labels.std, 1.0),
        clipped=valid & cut_short(labels),
    )


def cut_short(labels: TeacherLabels) -> Array:
    """bool [...]: `clipped`, False where nothing was converted."""
    return jnp.zeros_like(labels.valid) if labels.clipped is None else labels.clipped


@contextlib.contextmanager
def asking(spec: TeacherSpec) -> Iterator[None]:
    """What a teacher raises in the block becomes a TeacherError, and so does its SystemExit."""
    try:
        yield
    except TeacherError:
        raise
    except (Exception, SystemExit) as error:
        raise TeacherError(f"teacher {spec.name!r} failed: {type(error).__name__}: {one_line(error)}") from error


def label_steps(
    teacher: Teacher, observation: Observation, instructions: Instructions | str, key: Array, steps: int
) -> TeacherLabels:
    """Checked labels [B, steps, ...] for the present step and those after it; see `Teacher.label` for the arguments.

    `steps` is at most `teacher.spec.chunk`. For one step every teacher's `label` is asked, for more a `ChunkTeacher`.
    """
    with asking(teacher.spec):
        if steps == 1:
            labels = teacher.label(observation, instructions, key)
            return jax.tree.map(lambda leaf: leaf[:, None], checked(labels))
        chunks = cast(ChunkTeacher, teacher).label_chunk(observation, instructions, key)
        return checked(jax.tree.map(lambda leaf: leaf[:, :steps], chunks))


@dataclasses.dataclass
class Ledger:
    """What guidance has cost one member so far."""

    calls: int = 0  # batches sent to the teacher
    labels: int = 0  # teacher queries
    covered: int = 0  # transitions with a target: more than labels where answers hold for several steps
    refused: int = 0  # answers that could not be used, see `checked`
    clipped: int = 0  # answers that were cut short in their conversion, see `TeacherLabels`
    seconds: float = 0.0  # spent waiting for the teacher; 0 where it is part of the learner's program

    def charge(
        self, labels: int, batch_size: int, *, seconds: float = 0.0, covered: int, refused: int, clipped: int = 0
    ) -> None:
        """Adds one rollout's labels, requested in batches."""
        self.calls += math.ceil(labels / batch_size)
        self.labels += labels
        self.covered += covered
        self.refused += refused
        self.clipped += clipped
        self.seconds += seconds


def ledger_metrics(ledgers: Sequence[Ledger]) -> dict[str, float]:
    """What guidance has cost all members together, for the log; `clipped` only where anything was."""
    names = [field.name for field in dataclasses.fields(Ledger)]
    sums = {f"teacher/{name}": float(sum(getattr(ledger, name) for ledger in ledgers)) for name in names}
    return {name: value for name, value in sums.items() if value or name != "teacher/clipped"}


def history_windows(observation: Array, starts: Array, history: int) -> Array:
    """The last `history` observations at each step, newest last: [T, *B, *D] -> [T, *B, history, *D].

    A window does not reach over the beginning of an episode, nor of the rollout: the first observation there
    stands in for what is missing.

    Args:
      observation: [T, *B, *D].
      starts: bool [T, *B], an episode begins with this observation.
      history: at least 1.
    """
    steps = jnp.arange(len(starts)).reshape(-1, *(1,) * (starts.ndim - 1))
    first = jax.lax.cummax(jnp.where(starts, steps, 0), axis=0)
    ages = jnp.arange(history - 1, -1, -1).reshape(*(1,) * starts.ndim, history)
    index = jnp.maximum(steps[..., None] - ages, first[..., None])  # [T, *B, history]
    batch = jnp.ix_(*(jnp.arange(n) for n in starts.shape[1:]))
    return jnp.asarray(observation)[(index, *(b[None, ..., None] for b in batch))]


def label_member(
    teacher: Teacher,
    instructions: Instructions | str,
    observation: Observation,
    starts: Array,
    seed: Array | int,
    iteration: Array | int,
    batch_size: int,
) -> TeacherLabels:
    """Labels one member's transitions [T, N, ...], in batches; can be traced where `teacher.spec.in_graph`.

    `instructions` are those of its N environments. The key is made of the member's own seed and the iteration, so that
    its labels do not depend on who else is in the population.
    """
    horizon, num_envs = starts.shape
    flat = {key: flat_windows(x, starts, teacher.spec.history) for key, x in observation.items()}
    key = member_key(seed, iteration)
    with asking(teacher.spec):
        parts = [
            teacher.label(
                spread({name: x[begin : begin + batch_size] for name, x in flat.items()}),
                taken(instructions, np.arange(begin, min(begin + batch_size, horizon * num_envs)) % num_envs),
                jax.random.fold_in(key, i),
            )
            for i, begin in enumerate(range(0, horizon * num_envs, batch_size))
        ]
    labels = checked(jax.tree.map(lambda *x: jnp.concatenate(x), *parts))
    return jax.tree.map(lambda x: x.reshape(horizon, num_envs, *x.shape[1:]), labels)


def charge_dense(ledger: Ledger, labels: TeacherLabels, batch_size: int, seconds: float) -> None:
    """Charges a member for labels [T, N, ...] of every step; each is the target of its own."""
    asked, usable, clipped = labels.valid.size, int(labels.valid.sum()), int(cut_short(labels).sum())
    ledger.charge(asked, batch_size, seconds=seconds, covered=usable, refused=asked - usable, clipped=clipped)


def no_labels(shape: tuple[int, ...], action_dim: int) -> TeacherLabels:
    """Labels `shape` none of which is valid."""
    return TeacherLabels(
        action=jnp.zeros((*shape, action_dim)),
        valid=jnp.zeros(shape, bool),
        std=jnp.ones((*shape, action_dim)),
        clipped=jnp.zeros(shape, bool),
    )


def member_key(seed: Array | int, iteration: Array | int) -> Array:
    """The key of a member's labels in an iteration; batch i has `fold_in(key, i)`."""
    return jax.random.fold_in(stream(seed, "labels"), iteration)


def flat_windows(observation: Array, starts: Array, history: int) -> Array:
    """Flattens [T, N, ...] to [T * N, ...], with a history axis behind it where `history` > 1."""
    if history > 1:
        observation = history_windows(observation, starts, history)
    return observation.reshape(-1, *observation.shape[2:])
