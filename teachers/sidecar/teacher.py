"""A teacher whose model runs in processes of its own, seen from the learner."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from rpd_jax import placement
from rpd_jax.envs.base import EnvSpec
from rpd_jax.instructions import Instructions, as_instructions
from rpd_jax.ipc.handshake import HandshakeError
from rpd_jax.ipc.limits import Limits
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.ipc.slots import SlotCalls
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.ipc.text import one_line
from rpd_jax.types import Array, Observation, TeacherError, TeacherLabels, TokenLabels, TokenScores
from teachers.parts import parts
from teachers.refusal import Refusal
from teachers.sidecar import ROWS
from teachers.sidecar.fitting import but_gpus, layout_of
from teachers.sidecar.launching import Listening, Replica
from teachers.sidecar.server import instructions_fields, outputs_of, teacher_spec


@dataclasses.dataclass(eq=False)
class _Batch:
    """What one call of `begin` asked for."""

    inputs: dict[str, Array]  # empty once all of it has been sent
    answers: dict[str, np.ndarray]  # of the outputs that are wanted
    parts: int  # that are not answered
    error: RemoteError | None = None


class _Part(NamedTuple):
    """The rows of a batch that are one request, and where they were sent."""

    batch: _Batch
    rows: slice
    calls: SlotCalls
    ticket: int


class SidecarTeacher:
    """Labels by one or several processes that serve the same model; see `server.py` for their side.

    A batch is split into requests of `rows` observations, several of which are under way at once; with several
    processes each request goes to the one that has least to do. Labels depend on the arguments and on `rows`, not on
    the number of processes, nor on restarts. What the model raises is a TeacherError here; labels that are not finite
    are not valid. Observations on a GPU where a process runs its model too stay there; others pass through the host's
    shared memory.

    Use it from one thread at a time.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        replicas: Sequence[Replica | Listening],
        *,
        rows: int = ROWS,
        limits: Limits | None = None,
        action_dim: int | None = None,
    ) -> None:
        """Starts the processes and waits until their models are loaded.

        Args:
          env_spec: of the environment whose transitions are labelled.
          replicas: at least one.
          rows: observations per sidecar request.
          limits: when a process counts as failed; `queue_size` requests are under way with each.
          action_dim: of the teacher's actions; None: the environment's.

        Raises:
          HandshakeError: model and environment do not fit, or the processes serve different models.
          SidecarFailed: a process cannot be started; with its last output.
          OSError: there is not enough memory for the shared arrays.
        """
        if not replicas:
            raise ValueError("replicas: at least one process is needed, got none")
        self.rows = rows
        self._backlog: collections.deque[tuple[_Batch, slice, dict[str, Any]]] = collections.deque()  # not sent yet
        self._under_way: list[_Part] = []
        self._calls: list[SlotCalls] = []
        self._action_dim = env_spec.action_dim if action_dim is None else action_dim
        try:
            for replica in replicas:
                expect = but_gpus(self._calls[0].spec) if self._calls else None
                layout = functools.partial(layout_of, env_spec, self._action_dim, rows)
                self._calls.append(SlotCalls(replica.start, layout, expect=expect, limits=limits))
            self.spec = teacher_spec(self._calls[0].spec)
            self._name = f"teacher {one_line(self.spec.name)}"
            for remark in self._calls[0].spec.get("remarks", ()):
                logging.info("%s: %s", self._name, one_line(remark))
        except BaseException:
            self.close()
            raise
        self._refusal = Refusal(self._name)

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels observations [B, ...]; numpy arrays.

        Raises:
          TeacherError: the model raised, or a process failed again and again.
          ValueError: observations that do not fit.
        """
        return self.begin(observation, instructions, key)()

    def begin(
        self, observation: Observation, instructions: Instructions | str, key: Array
    ) -> Callable[[], TeacherLabels]:
        """Begins to label a batch and returns a function that waits for the labels.

        The observations must not change until then. See `label`.
        """
        batch = self._begin(observation, instructions, key)
        return lambda: self._labels(self._finish(batch))

    def label_chunk(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """See `rpd_jax.types.ChunkTeacher`; raises what `label` does."""
        return self._refusal(self._chunks(self._finish(self._begin(observation, instructions, key))))

    def label_tokens(self, observation: Observation, instructions: Instructions | str, key: Array) -> TokenLabels:
        """See `rpd_jax.types.TokenTeacher`; raises what `label` does, and ValueError if the model has no tokens."""
        self._check_tokens()
        answers = self._finish(self._begin(observation, instructions, key, tokens_wanted=True))
        labels = self._labels(answers, _finite(answers))
        answers["logits"][~labels.valid] = 0.0  # uniform, as neutral as their labels
        answers["logsumexp"][~labels.valid] = np.log(self.spec.token_bins)
        return TokenLabels(labels, answers["tokens"], TokenScores(answers["logits"], answers["logsumexp"]))

    def score(self, observation: Observation, instructions: Instructions | str, tokens: Array) -> TokenScores:
        """See `rpd_jax.types.TokenTeacher`; raises what `label_tokens` does, ValueError for what are no tokens, and
        TeacherError for scores that are not finite."""
        return self.begin_score(observation, instructions, tokens)()

    def begin_score(
        self, observation: Observation, instructions: Instructions | str, tokens: Array
    ) -> Callable[[], TokenScores]:
        """Begins to score a batch and returns a function that waits for the scores; see `begin` and `score`."""
        self._check_tokens()
        tokens, bins = np.asarray(tokens), self.spec.token_bins
        if tokens.ndim != 2 or tokens.shape[1] != self._action_dim or not len(tokens):
            raise ValueError(f"tokens: need shape (B, {self._action_dim}) with B >= 1, got {tokens.shape}")
        if tokens.dtype.kind not in "iu" or ((tokens < 0) | (tokens >= bins)).any():
            raise ValueError(
                f"tokens: need integers in [0, {bins}), got {tokens.dtype} {tokens.min()} to {tokens.max()}"
            )
        tokens, key = tokens.astype(np.int32), jax.random.key(0)
        batch = self._begin(observation, instructions, key, tokens, tokens_wanted=True)

        def wait() -> TokenScores:
            answers = self._finish(batch)
            if not (finite := _finite(answers)).all():
                raise TeacherError(f"{self._name}: {(~finite).sum()} rows of scores are not finite")
            return TokenScores(answers["logits"], answers["logsumexp"])

        return wait

    def _begin(
        self,
        observation: Observation,
        instructions: Instructions | str,
        key: Array,
        tokens: np.ndarray | None = None,
        *,
        tokens_wanted: bool = False,
    ) -> _Batch:
        inputs = {name: placement.host_view(observation[name]) for name in self.spec.observation_keys}
        size = len(next(iter(inputs.values())))
        texts = as_instructions(instructions, size).of_rows()
        fields: dict[str, bool] = {}
        if self.spec.token_bins:
            inputs["tokens"] = np.zeros((size, self._action_dim), np.int32) if tokens is None else tokens
            fields |= {"score": tokens is not None, "tokens_wanted": tokens_wanted}
        self._check_shapes(inputs, size)
        divided = parts(size, self.rows, key)
        outputs = outputs_of(self._action_dim, self.spec.token_bins if tokens_wanted else 0, self.spec.chunk)
        answers = {name: np.zeros((size, *spec["shape"]), spec["dtype"]) for name, spec in outputs.items()}
        batch = _Batch(inputs, answers, len(divided))
        for rows, own_key in divided:
            seed = int(jax.random.bits(own_key, (), np.uint32))
            self._backlog.append((batch, rows, {**fields, **instructions_fields(texts[rows]), "seed": seed}))
        self.poll()
        return batch

    def poll(self) -> None:
        """Takes the answers that are there and sends what waits, without waiting. Raises TeacherError, see `label`."""
        with self._failing():
            self._poll()

    def _poll(self) -> None:
        for part in list(self._under_way):
            if part.calls.ready(part.ticket):
                self._take(part)
        while self._backlog:
            calls = min(self._calls, key=lambda calls: calls.under_way)
            if not calls.has_room:
                break
            batch, rows, fields = self._backlog[0]
            if batch.error is None:
                inputs = jax.block_until_ready({name: x[rows] for name, x in batch.inputs.items()})
                ticket = calls.submit(inputs, fields, list(batch.answers))
                self._under_way.append(_Part(batch, rows, calls, ticket))
            else:
                batch.parts -= 1
            self._backlog.popleft()  # only now: should sending fail, it is tried again
            if not self._backlog or self._backlog[0][0] is not batch:
                batch.inputs = {}  # frames are large, and who waits for the answers keeps the batch

    def metrics(self) -> dict[str, float]:
        """Sums over the processes, for the log."""
        each = [calls.metrics() for calls in self._calls]
        sums = {f"teacher/process_{name}": sum(metrics[name] for metrics in each) for name in each[0]}
        return sums | self._refusal.metrics()

    def close(self) -> None:
        """Ends the processes. Idempotent."""
        for calls in self._calls:
            calls.close()
        self._backlog.clear()
        self._under_way.clear()

    def __enter__(self) -> SidecarTeacher:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _finish(self, batch: _Batch) -> dict[str, np.ndarray]:
        """Waits for the answers."""
        with self._failing():
            self._poll()
            while batch.parts:
                self._take(self._under_way[0])
                self._poll()
            if batch.error is not None:
                raise batch.error
        return batch.answers

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What a process raises, or dies of, becomes a TeacherError: one line, with the details as its cause."""
        try:
            yield
        except (SidecarFailed, RemoteError, HandshakeError, OSError) as error:
            if isinstance(error, RemoteError):  # its output may be in no file
                logging.error("%s raised:\n%s", self._name, error.remote_traceback)
            raise TeacherError(f"{self._name}: {one_line(error)}") from error

    def _labels(self, answers: Mapping[str, np.ndarray], also: np.ndarray | bool = True) -> TeacherLabels:
        return self._refusal(self._chunks(answers).first(), also)

    def _chunks(self, answers: Mapping[str, np.ndarray]) -> TeacherLabels:
        """Labels [B, C, ...], also where C is one."""
        found = (answers["action"], answers["valid"], answers["std"])
        return TeacherLabels(*(found if self.spec.chunk > 1 else (leaf[:, None] for leaf in found)))

    def _take(self, part: _Part) -> None:
        self._under_way.remove(part)
        try:
            for name, values in part.calls.outputs(part.ticket).items():
                np.copyto(part.batch.answers[name][part.rows], values)
        except RemoteError as error:
            part.batch.error = error
        except BaseException:
            self._under_way.insert(0, part)  # an interrupt: the answer may still be asked for
            raise
        else:
            part.calls.release(part.ticket)
        part.batch.parts -= 1

    def _check_tokens(self) -> None:
        if not self.spec.token_bins:
            raise ValueError(f"{self.spec.name} has no action tokens: it cannot score any")

    def _check_shapes(self, inputs: Mapping[str, Array], size: int) -> None:
        for name, (shape, dtype) in self._calls[0].inputs.items():
            values = inputs[name]
            if values.shape != (size, *shape) or values.dtype != dtype or size < 1:
                raise ValueError(
                    f"observation[{name!r}]: need {dtype} of shape (B, {', '.join(map(str, shape))}) with B >= 1, "
                    f"got {values.dtype} of {values.shape}"
                )


def _finite(answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of which rows [B] the distributions are finite."""
    return np.isfinite(answers["logits"]).all((1, 2)) & np.isfinite(answers["logsumexp"]).all(1)
