"""Asking the teacher: each transition that needs a label gets one, once per rollout, in large batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np

from rpd_jax.types import Observation, Teacher, TeacherLabels


@dataclasses.dataclass
class Ledger:
    """What guidance has cost one member so far."""

    calls: int = 0  # batches sent to the teacher
    labels: int = 0  # transitions labelled
    seconds: float = 0.0  # spent waiting for the teacher


def ledger_metrics(ledgers: Sequence[Ledger]) -> dict[str, float]:
    """What guidance has cost all members together, for the log."""
    names = [field.name for field in dataclasses.fields(Ledger)]
    return {f"teacher/{name}": float(sum(getattr(ledger, name) for ledger in ledgers)) for name in names}


def history_windows(observation: np.ndarray, starts: np.ndarray, history: int) -> np.ndarray:
    """The last `history` observations at each step, newest last: [T, ..., *D] -> [T, ..., history, *D].

    A window does not reach over the beginning of an episode, nor of the rollout: the first observation there
    stands in for what is missing.

    Args:
      observation: [T, *B, *D].
      starts: bool [T, *B], an episode begins with this observation.
      history: at least 1.
    """
    steps = np.arange(len(starts)).reshape(-1, *(1,) * (starts.ndim - 1))
    first = np.maximum.accumulate(np.where(starts, steps, 0), axis=0)
    ages = np.arange(history - 1, -1, -1)
    index = np.maximum(steps[..., None] - ages, first[..., None])  # [T, *B, history]
    batch = np.ix_(*(np.arange(n) for n in starts.shape[1:]))
    return observation[(index, *(b[None, ..., None] for b in batch))]


def label_rollout(
    teacher: Teacher,
    instruction: str,
    observation: Observation,
    starts: np.ndarray,
    seeds: Sequence[int],
    iteration: int,
    batch_size: int,
    ledgers: Sequence[Ledger],
) -> TeacherLabels:
    """Labels the guided members' transitions.

    Each member is asked about with a key made of its own seed and the iteration, so that its labels do not
    depend on who else is in the population.

    Args:
      observation: what the teacher reads, leaves [T, G, N, ...].
      starts: bool [T, G, N].
      seeds: of the G guided members.
      batch_size: most observations in one call.
      ledgers: of the G guided members; each is charged for its own.

    Returns:
      labels [T, G, N, ...].
    """
    horizon, num_members, num_envs = starts.shape
    answers = []
    for member in range(num_members):
        flat = {key: _windows(x[:, member], starts[:, member], teacher.spec.history) for key, x in observation.items()}
        key = jax.random.fold_in(jax.random.key(seeds[member]), iteration)
        ledger, parts = ledgers[member], []
        for i, begin in enumerate(range(0, horizon * num_envs, batch_size)):
            batch = {name: x[begin : begin + batch_size] for name, x in flat.items()}
            started = time.perf_counter()
            answer = jax.device_get(teacher.label(batch, instruction, jax.random.fold_in(key, i)))
            ledger.seconds += time.perf_counter() - started
            ledger.calls += 1
            ledger.labels += len(answer.valid)
            parts.append(answer)
        labels = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        answers.append(jax.tree.map(lambda x: x.reshape(horizon, num_envs, *x.shape[1:]), labels))
    return jax.tree.map(lambda *x: np.stack(x, axis=1), *answers)


def spread(labels: TeacherLabels, guided: Sequence[int], num_members: int) -> TeacherLabels:
    """Puts labels [T, G, N, ...] into arrays for all members, [T, P, N, ...]; the others' are not valid."""
    horizon, _, num_envs, action_dim = labels.action.shape
    shape = (horizon, num_members, num_envs)
    everyone = TeacherLabels(
        action=np.zeros((*shape, action_dim), np.float32),
        valid=np.zeros(shape, bool),
        std=np.ones((*shape, action_dim), np.float32),
    )
    for mine, whole in zip(labels, everyone, strict=True):
        whole[:, list(guided)] = mine
    return everyone


def no_labels(shape: tuple[int, int, int], action_dim: int) -> TeacherLabels:
    """Labels [T, P, N, ...] none of which is valid."""
    empty = TeacherLabels(
        action=np.zeros((shape[0], 0, shape[2], action_dim), np.float32),
        valid=np.zeros((shape[0], 0, shape[2]), bool),
        std=np.ones((shape[0], 0, shape[2], action_dim), np.float32),
    )
    return spread(empty, (), shape[1])


def _windows(observation: np.ndarray, starts: np.ndarray, history: int) -> np.ndarray:
    """Flattens [T, N, ...] to [T * N, ...], with a history axis behind it where the teacher wants one."""
    if history > 1:
        observation = history_windows(observation, starts, history)
    return observation.reshape(-1, *observation.shape[2:])
