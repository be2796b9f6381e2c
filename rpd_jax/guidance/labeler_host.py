"""Labels of a rollout on the host: requested while it is collected where the teacher can, else afterwards."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.guidance import queries, sparse
from rpd_jax.guidance.labeler import Askers, Labeler
from rpd_jax.guidance.labels import Ledger, charge_dense, label_member, no_labels
from rpd_jax.guidance.scores import no_scores, score_member, usable
from rpd_jax.guidance.sparse import Asked
from rpd_jax.guidance.stream import BackgroundTeacher, LabelStream, stream_batch
from rpd_jax.types import Array, Observation, TeacherLabels, TokenScores, TokenTeacher

See = Callable[[np.ndarray], Observation]
"""What the teacher reads of environments [K] now, leaves [K, ...]; environment p * N + n is member p's."""


class HostLabeler(Labeler):
    """Labels rollouts of a simulator; each one is a `RolloutLabels`."""

    def rollout(self, weight: np.ndarray, calls: Array, iteration: int, ledgers: Sequence[Ledger]) -> RolloutLabels:
        """Before a rollout.

        Args:
          weight: [P] of the members' distillation losses; where it is 0 there are no queries.
          calls: int [P], of an environment in this rollout, of the sparse members.
          iteration: of the run.
          ledgers: of all P members; those that query are charged.
        """
        return RolloutLabels(self, weight > 0, calls, iteration, ledgers)


class RolloutLabels:
    """The labels of one rollout under way: `begin`, a `step` for each of its steps, `finish`."""

    def __init__(
        self, labeler: HostLabeler, asks: np.ndarray, calls: Array, iteration: int, ledgers: Sequence[Ledger]
    ) -> None:
        self._labeler, self._iteration, self._ledgers = labeler, iteration, ledgers
        self.dense = np.flatnonzero(labeler.askers.dense & asks)
        self.sparse = np.flatnonzero(labeler.askers.sparse & asks)
        self._calls = calls
        self._starts: list[np.ndarray] = []  # of each step, [P, N]
        self._stream: LabelStream | None = None
        self._questions: _Questions | None = None

    def begin(self, age: np.ndarray, length: int) -> None:
        """Before the first step; `age` int [P, N]: steps that the episodes under way have lasted; `length`: T."""
        num_envs = age.shape[1]
        self._kept = placement.StepBuffer(length)  # of the dense members, leaves [G, N, ...], unless they are streamed
        teacher = self._labeler.teacher
        if len(self.dense) and isinstance(teacher, BackgroundTeacher) and not self._labeler.scores:
            self._stream = LabelStream(
                teacher,
                self._labeler.instructions,
                [int(self._labeler.askers.seeds[p]) for p in self.dense],
                self._iteration,
                stream_batch(teacher, self._labeler.batch_size, num_envs),
                [self._ledgers[p] for p in self.dense.tolist()],
            )
        if len(self.sparse):
            askers = self._labeler.askers
            self._questions = _Questions(askers, self.sparse, self._calls, self._iteration, age, length)

    def step(self, starts: np.ndarray, value: Array | None, see: See) -> None:
        """One step of the rollout, before it is made.

        Args:
          starts: bool [P, N], an episode begins with this observation.
          value: [P, N] of the students; None where they have no critic.
          see: shows the environments that are queried.
        """
        self._starts.append(starts)
        num_envs = starts.shape[1]
        if len(self.dense):
            rows = self.dense[:, None] * num_envs + np.arange(num_envs)
            shown = {name: x.reshape(*rows.shape, *x.shape[1:]) for name, x in see(rows.ravel()).items()}
            if self._stream is not None:
                self._stream.add(shown, starts[self.dense])
            else:
                self._kept.write(len(self._starts) - 1, shown)
        if self._questions is not None:
            values = np.zeros(starts.shape, np.float32) if value is None else np.asarray(value)
            self._questions.step(len(self._starts) - 1, starts, values, see)

    def finish(self, tokens: Array | None = None) -> TeacherLabels | TokenScores:
        """The targets [T, P, N, ...] of all members; nothing is valid of those without queries.

        `tokens` [T, P, N, A] are the students', whose scores are given where the labeler is one of scores.
        """
        starts = np.stack(self._starts)
        if self._labeler.scores:
            assert tokens is not None, "families that ask for scores have tokens among their extras"
            return self._scores(starts, tokens)
        labels = no_labels(starts.shape, self._labeler.spec.action_dim)
        found = self._dense_labels(starts) | self._sparse_targets(starts)
        for member, mine in found.items():
            labels = jax.tree.map(lambda whole, x, p=member: whole.at[:, p].set(x), labels, mine)
        return labels

    def _scores(self, starts: np.ndarray, tokens: Array) -> TokenScores:
        """The teacher's scores of each member's tokens."""
        labeler, length = self._labeler, len(starts)
        kept = self._kept.tree() if len(self.dense) else {}
        blank = no_scores((length, *starts.shape[2:], tokens.shape[-1]), labeler.teacher.spec.token_bins)
        found = [blank] * starts.shape[1]
        for g, p in enumerate(self.dense.tolist()):
            began = time.perf_counter()
            found[p] = jax.block_until_ready(
                score_member(
                    cast(TokenTeacher, labeler.teacher),
                    labeler.instructions,
                    {name: x[:, g] for name, x in kept.items()},
                    starts[:, p],
                    tokens[:, p],
                    labeler.batch_size,
                )
            )
            asked, covered = starts[:, p].size, int(usable(found[p]).sum())
            self._ledgers[p].charge(
                asked,
                labeler.batch_size,
                seconds=time.perf_counter() - began,
                covered=covered,
                refused=asked - covered,
            )
        return jax.tree.map(lambda *x: jnp.stack(x, axis=1), *found)

    def _dense_labels(self, starts: np.ndarray) -> dict[int, TeacherLabels]:
        """Labels [T, N, ...] of each dense member."""
        if self._stream is not None:
            labels = self._stream.finish()
            return {int(p): jax.tree.map(lambda x, g=g: x[:, g], labels) for g, p in enumerate(self.dense)}
        labeler, found = self._labeler, {}
        kept = self._kept.tree() if len(self.dense) else {}
        for g, p in enumerate(self.dense.tolist()):
            began = time.perf_counter()
            labels = label_member(
                labeler.teacher,
                labeler.instructions,
                {name: x[:, g] for name, x in kept.items()},
                starts[:, p],
                int(labeler.askers.seeds[p]),
                self._iteration,
                labeler.batch_size,
            )
            found[p] = jax.block_until_ready(labels)
            charge_dense(self._ledgers[p], labels, labeler.batch_size, time.perf_counter() - began)
        return found

    def _sparse_targets(self, starts: np.ndarray) -> dict[int, TeacherLabels]:
        """Targets [T, N, ...] of each sparse member."""
        if self._questions is None:
            return {}
        labeler, found = self._labeler, {}
        for member, mine in zip(self.sparse.tolist(), self._questions.asked(), strict=True):
            began = time.perf_counter()
            answers = sparse.ask_on_host(
                labeler.teacher,
                labeler.instructions,
                mine,
                int(labeler.askers.seeds[member]),
                self._iteration,
                labeler.sparse_batch,
                labeler.spec.action_dim,
                actions := int(labeler.askers.actions[member]),
            )
            seconds = time.perf_counter() - began
            guidance = labeler.askers.guidance_of(member)
            targets = _targets(answers, mine.where, starts[:, member], guidance, labeler.contracts(actions))
            found[member] = targets
            refused, clipped = sparse.cost(answers, mine.where)
            self._ledgers[member].charge(
                int(mine.where.sum()),
                labeler.sparse_batch,
                seconds=seconds,
                covered=int(jnp.sum(targets.valid)),
                refused=int(refused),
                clipped=int(clipped),
            )
        return found


_targets = jax.jit(sparse.targets, static_argnums=4)


class _Questions:
    """The queries of a rollout's sparse members, decided step by step as a simulator goes on."""

    def __init__(
        self, askers: Askers, members: np.ndarray, calls: Array, iteration: int, age: np.ndarray, length: int
    ) -> None:
        self._members, self._length = members, length
        self._guidance, self._calls = askers.guidance_of(members), jnp.asarray(calls)[members]
        keys = jnp.stack([queries.query_key(int(askers.seeds[p]), iteration) for p in members])
        begin = jax.vmap(queries.begin, in_axes=(0, 0, None))
        self._state = begin(keys, jnp.asarray(age[members], jnp.int32), length)
        self._where: list[np.ndarray] = []  # of each step, [S, N]
        self._seen: list[tuple[np.ndarray, Observation]] = []  # (which of the S members, leaves [K, ...])

    def step(self, index: int, starts: np.ndarray, values: np.ndarray, see: See) -> None:
        """One step of all members, arrays [P, N]."""
        mine = self._members
        self._state, where = _ask(
            self._state, self._guidance, self._calls, np.int32(index), starts[mine], values[mine], self._length
        )
        self._where.append(np.asarray(where))
        who, envs = np.nonzero(self._where[-1])
        if len(who):
            self._seen.append((who, see(mine[who] * starts.shape[1] + envs)))

    def asked(self) -> list[Asked]:
        """The queries of each of the S members."""
        where, found = np.stack(self._where), []
        for member in range(where.shape[1]):
            mine = [
                {name: placement.rows(x, np.flatnonzero(who == member)) for name, x in seen.items()}
                for who, seen in self._seen
            ]
            observation = (
                {name: placement.concatenate([each[name] for each in mine]) for name in mine[0]} if mine else {}
            )
            found.append(Asked(where[:, member], observation))
        return found


@functools.partial(jax.jit, static_argnums=6)
def _ask(state: Any, guidance: Any, calls: Array, step: Array, begins: Array, values: Array, length: int) -> tuple:
    ask = functools.partial(queries.ask, length=length)
    return jax.vmap(ask, in_axes=(0, 0, 0, None, 0, 0))(state, guidance, calls, step, begins, values)
