"""A teacher behind a policy server, queried with one observation at a time over one or several connections."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rpd_jax.envs.base import EnvSpec
from rpd_jax.instructions import Instructions, as_instructions
from rpd_jax.ipc.limits import Limits
from rpd_jax.types import ActionContract, Array, Observation, TeacherError, TeacherLabels, TeacherSpec
from teachers.refusal import Refusal
from teachers.remote.adapters import Adapter, Address, Fields
from teachers.remote.line import Line
from teachers.remote.request import Request
from teachers.sampling import Sampling

ACTION_DIM = 7  # what an ActionContract is about


class RemoteTeacher:
    """Labels by a policy server, which answers with an action or with a chunk of them.

    The keys are not used: a server that draws its actions has random numbers of its own, so a run with it cannot be
    repeated exactly. Questions go out from threads, one for each connection, while the caller does something else.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        adapter: Adapter,
        address: Address,
        request: Request,
        contract: ActionContract,
        sampling: Sampling | None = None,
        *,
        connections: int = 1,
        limits: Limits | None = None,
    ) -> None:
        """Connects, and queries one black observation: many servers compile then, and mistakes show.

        Args:
          env_spec: of the environment whose transitions are labelled.
          adapter: what is spoken at the address.
          address: of the server.
          request: what the server is sent.
          contract: of the server's actions.
          sampling: how many samples are drawn of each observation, and the std of a label.
          connections: requests that are under way at the same time.
          limits: see `Line`.

        Raises:
          ValueError: the protocol has no such names for what is sent.
          TeacherError: nobody answers there, it refuses the observation, or its actions are not those of a contract.
        """
        if connections < 1:
            raise ValueError(f"teacher.connections={connections!r}: must be at least 1")
        blank = request.fields(request.blank(), 0, env_spec.instruction)
        adapter.encode(blank)  # names that the protocol does not have are found before anything connects
        self._request, self._sampling = request, sampling or Sampling()
        self.rows = connections  # what is under way at once: rows are asked for one by one anyway
        self._where = f"the {adapter.name} policy server at {address.url}"
        self._refusal = Refusal(self._where)
        self._lines: list[Line] = []
        self._free: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(connections, "policy-server")
        try:
            for _ in range(connections):
                self._lines.append(Line(adapter, address, limits or Limits()))
            answer = self._first_answer(blank)
        except BaseException:
            self.close()
            raise
        for line in self._lines:
            self._free.put(line)
        self.spec = TeacherSpec(
            name=f"remote:{adapter.name}",
            observation_keys=request.observation_keys,
            contract=contract,
            chunk=len(answer) if answer.ndim == 2 else 1,
            samples_actions=True,  # who knows
        )

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels observations [B, ...] in the server's contract; those that are not finite are not valid.

        Raises:
          TeacherError: the server is gone, or too slow, and did not come back; its own error; or an answer of another
            kind or shape.
          ValueError: observations that do not fit.
        """
        return self.begin(observation, instructions, key)()

    def begin(
        self, observation: Observation, instructions: Instructions | str, key: Array
    ) -> Callable[[], TeacherLabels]:
        """Begins to label a batch and returns a function that waits for the labels; see `label`.

        The observations must not change until then.
        """
        del key
        wait = self._begin(observation, instructions, 1)
        return lambda: self._refusal(wait().first())

    def label_chunk(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """See `rpd_jax.types.ChunkTeacher`; raises what `label` does, and TeacherError for a chunk that is shorter than
        the server's first one."""
        del key
        return self._refusal(self._begin(observation, instructions, self.spec.chunk)())

    def _begin(
        self, observation: Observation, instructions: Instructions | str, steps: int
    ) -> Callable[[], TeacherLabels]:
        """Begins to ask for chunks and returns a function that waits for labels [B, steps, ...] by their beginnings."""
        arrays = self._request.check(observation)
        rows = len(arrays[self._request.observation_keys[0]])
        texts = as_instructions(instructions, rows).of_rows()

        def ask(row: int) -> np.ndarray:
            line = self._free.get()
            try:
                return self._actions(line.ask(self._request.fields(arrays, row, texts[row])), steps)
            finally:
                self._free.put(line)

        answers = [self._threads.submit(ask, row) for _ in range(self._sampling.samples) for row in range(rows)]

        def wait() -> TeacherLabels:
            try:
                draws = np.stack([answer.result() for answer in answers])
            except BaseException:
                for answer in answers:
                    answer.cancel()
                raise
            return self._sampling.labels(draws.reshape(self._sampling.samples, rows, steps, ACTION_DIM))

        return wait

    def poll(self) -> None:
        """Nothing is left to do: the threads work by themselves."""

    def metrics(self) -> dict[str, float]:
        """Counts since the beginning, for the log."""
        reconnects = float(sum(line.reconnects for line in self._lines))
        return {"teacher/server_reconnects": reconnects, **self._refusal.metrics()}

    def close(self) -> None:
        """Ends the connections and threads. Idempotent."""
        for line in self._lines:
            line.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _first_answer(self, fields: Fields) -> np.ndarray:
        """An answer, known to be an action or a chunk of actions."""
        try:
            answer = self._lines[0].ask(fields, first=True)
        except TeacherError as error:
            if isinstance(error.__cause__, OSError):
                raise
            sent = {name: repr(x) if isinstance(x, str) else f"{x.dtype} {x.shape}" for name, x in fields.items()}
            raise TeacherError(f"{error} (it was sent {sent})") from error
        action = self._actions(answer, 1)
        if not np.isfinite(action).all():
            raise TeacherError(f"{self._where} answers with numbers that are not finite: {action[0]}")
        return answer

    def _actions(self, answer: np.ndarray, steps: int) -> np.ndarray:
        """The first actions [steps, A] of an answer."""
        chunk = answer[None] if answer.ndim == 1 else answer
        if chunk.ndim != 2 or chunk.shape[1] != ACTION_DIM or len(chunk) < steps:
            single = f"an action of shape ({ACTION_DIM},) or a chunk (horizon, {ACTION_DIM})"
            needed = single if steps == 1 else f"a chunk ({steps} or more, {ACTION_DIM})"
            raise TeacherError(f"{self._where}: need {needed} (translation, rotation, gripper), got {answer.shape}")
        with np.errstate(over="ignore"):
            return chunk[:steps].astype(np.float32)
