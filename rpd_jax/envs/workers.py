"""Worker processes that share the environments of one vector, and are replaced when they fail."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rpd_jax.envs.base import SimulatorFailed
from rpd_jax.ipc.messages import Message, ProtocolError, RemoteError
from rpd_jax.ipc.process import SidecarProcess

MAX_RESTARTS = 3  # of one worker ...
WITHIN_STEPS = 100  # ... within so many steps: then something is wrong that restarts do not mend
FAILURES = (ConnectionError, TimeoutError, ProtocolError, RemoteError)
"""What can come of asking a worker: it died, hangs, talks nonsense, or raised."""

Request = tuple[str, Mapping[str, Any]]


class WorkerPool:
    """Workers 0..n-1 that take the same kinds of requests at the same time."""

    def __init__(
        self,
        count: int,
        start: Callable[[int], SidecarProcess],
        preparation: Callable[[int], Sequence[Request]],
        *,
        deadline_s: float,
        start_deadline_s: float,
    ):
        """Starts the processes, without waiting for them or preparing them.

        Args:
          count: how many workers.
          start: starts the process of a worker.
          preparation: the requests that make a restarted worker ready, as many for each worker.
          deadline_s: after so many seconds without a reply a worker counts as hung.
          start_deadline_s: the same for each request of the preparation.
        """
        self._start = start
        self._preparation = preparation
        self._deadline_s = deadline_s
        self._start_deadline_s = start_deadline_s
        self._recent: list[collections.deque[int]] = [collections.deque() for _ in range(count)]
        self.restarts = 0
        self.processes: list[SidecarProcess] = []
        try:
            for worker in range(count):
                self.processes.append(start(worker))
        except BaseException:
            self.close()
            raise

    def ask(
        self, requests: Mapping[int, Request], deadline_s: float | None = None
    ) -> tuple[dict[int, Message], dict[int, Exception]]:
        """Sends the workers named their requests, all at once, and waits for them.

        Returns:
          (the replies of those that answered, why the others did not).
        """
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        replies: dict[int, Message] = {}
        failures: dict[int, Exception] = {}
        sequences: dict[int, int] = {}
        for worker, (kind, fields) in requests.items():
            try:
                sequences[worker] = self.processes[worker].send(kind, fields)
            except FAILURES as error:
                failures[worker] = error
        for worker, sequence in sequences.items():
            try:
                replies[worker] = self.processes[worker].receive(sequence, deadline_s)
            except FAILURES as error:
                failures[worker] = error
        return replies, failures

    def restart(self, failures: Mapping[int, Exception], step: int) -> None:
        """Replaces failed workers, until all are ready.

        Args:
          failures: why, from `ask`.
          step: how many steps the vector has made, for the limit.

        Raises:
          RuntimeError: the limit is reached; with the worker's last output.
        """
        while failures:
            for worker, error in failures.items():
                self._count_restart(worker, error, step)
                self.processes[worker].close(timeout_s=0.0)
                self.processes[worker] = self._start(worker)
            failures = self._prepare(failures)

    def close(self) -> None:
        """Ends all processes. Idempotent."""
        for process in self.processes:
            process.kill()  # they hold nothing that a polite end would save
            process.close()

    def _prepare(self, workers: Iterable[int]) -> dict[int, Exception]:
        todo = {worker: list(self._preparation(worker)) for worker in workers}
        failures: dict[int, Exception] = {}
        while requests := {worker: steps.pop(0) for worker, steps in todo.items() if steps}:
            _, failed = self.ask(requests, self._start_deadline_s)
            failures |= failed
            todo = {worker: steps for worker, steps in todo.items() if worker not in failures}
        return failures

    def _count_restart(self, worker: int, error: Exception, step: int) -> None:
        recent = self._recent[worker]
        while recent and recent[0] <= step - WITHIN_STEPS:
            recent.popleft()
        recent.append(step)
        if len(recent) >= MAX_RESTARTS:
            process = self.processes[worker]
            process.kill()  # so that its last output is complete
            raise SimulatorFailed(
                f"{process.name} failed {len(recent)} times within {WITHIN_STEPS} steps, the last time with "
                f"{type(error).__name__}: {error}\n--- its last output ---\n{process.log_tail()}"
            )
        self.restarts += 1
