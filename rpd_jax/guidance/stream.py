"""Labels requested while the rollout is still being collected, from teachers that can work in the background."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.guidance.labels import Ledger, asking, charge_dense, checked, flat_windows, member_key
from rpd_jax.instructions import Instructions, taken
from rpd_jax.types import Array, Observation, TeacherLabels, TeacherSpec

STREAMED = 128  # observations of a member with which a batch is begun: more would wait for the end of the rollout


@runtime_checkable
class BackgroundTeacher(Protocol):
    """A teacher that takes a request now and returns its labels later.

    Where it has an attribute `whole_batches` that is True, it gets the batches that it would get in the foreground.
    """

    spec: TeacherSpec

    def begin(
        self, observation: Observation, instructions: Instructions | str, key: Array
    ) -> Callable[[], TeacherLabels]:
        """Begins `label` with the same arguments, and returns a function that waits for its result.

        The observations must not change until then.
        """
        ...

    def poll(self) -> None:
        """Does what can be done without waiting; is called often."""
        ...


def stream_batch(teacher: BackgroundTeacher, batch_size: int, num_envs: int) -> int:
    """Observations of a member with which a batch is begun, of N environments and at most `batch_size` in a call."""
    if getattr(teacher, "whole_batches", False):
        return batch_size
    return min(batch_size, -(-STREAMED // num_envs) * num_envs)  # whole steps: it begins as soon as they are made


class LabelStream:
    """One rollout's labels: those of `labels.label_rollout`, bit for bit, from batches begun as soon as they are full.

    Args:
      teacher: queried in the background.
      instructions: of a member's N environments.
      seeds: of the G guided members.
      iteration: of the run.
      batch_size: most observations in one call.
      ledgers: of the G guided members; the seconds are those that the learner spends here, not the teacher's.
    """

    def __init__(
        self,
        teacher: BackgroundTeacher,
        instructions: Instructions | str,
        seeds: Sequence[int],
        iteration: int,
        batch_size: int,
        ledgers: Sequence[Ledger],
    ) -> None:
        self._teacher, self._instructions, self._batch_size = teacher, instructions, batch_size
        self._keys = [member_key(seed, iteration) for seed in seeds]
        self._ledgers = ledgers
        self._observations: dict[int, Observation] = {}  # of the steps that are still needed, [G, N, ...]
        self._starts: list[np.ndarray] = []  # of each step, [G, N]
        self._begun = 0  # observations of each member whose labels are requested
        self._waits: list[list[Callable[[], TeacherLabels]]] = [[] for _ in seeds]

    def add(self, observation: Observation, starts: Array) -> None:
        """One more step.

        Args:
          observation: what the teacher reads, leaves [G, N, ...]; must not change any more.
          starts: bool [G, N], an episode begins with this observation.
        """
        self._observations[len(self._starts)] = observation
        self._starts.append(np.asarray(starts))
        with asking(self._teacher.spec):
            self._teacher.poll()
        while self._collected - self._begun >= self._batch_size:
            self._begin(self._begun + self._batch_size)

    def finish(self) -> TeacherLabels:
        """Waits for the labels [T, G, N, ...] of all steps."""
        if self._collected > self._begun:
            self._begin(self._collected)
        shape = (len(self._starts), self._starts[0].shape[1])
        answers = []
        for waits, ledger in zip(self._waits, self._ledgers, strict=True):
            started = time.perf_counter()
            with asking(self._teacher.spec):
                labels = checked(jax.tree.map(lambda *x: np.concatenate(x), *[wait() for wait in waits]))
            answers.append(jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), labels))
            charge_dense(ledger, answers[-1], self._batch_size, time.perf_counter() - started)
        return jax.tree.map(lambda *x: jnp.stack(x, axis=1), *answers)

    @property
    def _collected(self) -> int:
        """Observations of each member."""
        return len(self._starts) * self._starts[0].shape[1] if self._starts else 0

    def _begin(self, end: int) -> None:
        """Requests labels for every member's observations from `self._begun` to `end`, counted step by step."""
        num_envs, history = self._starts[0].shape[1], self._teacher.spec.history
        # Windows of the batch reach back over so many steps; what lies before does not matter to them.
        first = max(0, self._begun // num_envs - (history - 1))
        last = -(-end // num_envs)
        rows = slice(self._begun - first * num_envs, end - first * num_envs)
        starts = np.stack(self._starts[first:last])
        index = self._begun // self._batch_size
        said = taken(self._instructions, np.arange(self._begun, end) % num_envs)
        for member, key in enumerate(self._keys):
            batch: dict[str, Any] = {}
            for name in self._observations[first]:
                steps = placement.stack([self._observations[step][name][member] for step in range(first, last)])
                batch[name] = placement.host_view(flat_windows(steps, starts[:, member], history))[rows]
            with asking(self._teacher.spec):
                wait = self._teacher.begin(batch, said, jax.random.fold_in(key, index))
            self._waits[member].append(wait)
        self._begun = end
        for step in range(first, max(first, end // num_envs - (history - 1))):  # frames are large
            del self._observations[step]
