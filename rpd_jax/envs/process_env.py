"""Environments whose simulators run in processes, which are replaced when they fail."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rpd_jax.config import ConfigError
from rpd_jax.config.errors import choice
from rpd_jax.envs.base import EnvSpec, StepResult
from rpd_jax.envs.process_arrays import shares, with_lost
from rpd_jax.envs.process_episodes import EpisodeSequence
from rpd_jax.envs.workers import Request, WorkerPool
from rpd_jax.ipc.arrays import memory_descriptor
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.types import Array, Observation

if TYPE_CHECKING:
    from rpd_jax.ipc.arrays import SharedArrays
    from rpd_jax.ipc.device import DeviceArrays


class ProcessEnv(EpisodeSequence):
    """A `base.VectorEnv` but for the arrays that it shares with its workers, and for what they are asked to make.

    These are a subclass's concern: arrays in the host's memory are `process_pool.PoolEnv`'s. A worker is a process that
    answers the requests "make", "attach", "reset", "step" and "frames", see `process_worker`.
    """

    def __init__(
        self, seeds: Sequence[int], processes: int, *, drawn: Sequence[str], random_ages: bool, deadline_s: float
    ) -> None:
        """Starts the workers.

        Args:
          seeds: one base seed per environment; its k-th episode is reset with `episode_seed(seed, k)`.
          processes: how many workers.
          drawn: the cameras that draw every state, see `EnvSpec.cameras`.
          random_ages: whether episodes that begin together begin at ages of their own, see `base.first_ages`.
          deadline_s: seconds after which a worker that does not answer is replaced.

        Raises:
          ConfigError: a worker says that a setting cannot work.
          RuntimeError: a worker cannot start.
        """
        super().__init__(seeds, random_ages)
        self._drawn, self._deadline_s = tuple(drawn), deadline_s
        self._rows = shares(self.num_envs, processes)
        self._lost: set[int] = set()  # workers whose episodes were lost since the last step
        self._steps = 0
        self._not_finite = 0  # episodes that ended because a simulation gave what is not finite
        self._descriptor = memory_descriptor()
        self._arrays: SharedArrays | DeviceArrays | None = None
        self._started: WorkerPool | None = None
        try:
            self._start(self._start_deadline_s())
        except BaseException:
            self.close()
            raise

    def reset(self) -> Observation:
        """Begins the next episode of every environment.

        Raises:
          RuntimeError: closed, or workers fail again and again.
        """
        self._check_open()
        self._observation = None
        self._lost.clear()
        # A worker that fails is restarted, which includes a reset with the same seeds.
        self._ask({worker: ("reset", {}) for worker in range(len(self._rows))})
        self._count_episodes(np.ones(self.num_envs, bool))
        self._observation = self._read("")
        return dict(self._observation)

    def begin_episode(self, number: int) -> Observation:
        """Begins episode `number`, counted from 0, of every environment."""
        self.load_state_dict({"episode": np.full(self.num_envs, number)})
        return self.reset()

    def step(self, action: Array) -> StepResult:
        """Steps every environment with actions [B, A], clipped to the box.

        The arrays returned are copies, which later calls do not touch.

        Raises:
          ValueError: actions of another shape, or that are not numbers.
          RuntimeError: closed, not reset, or workers fail again and again.
        """
        self._check_open()
        if self._observation is None:
            raise RuntimeError("call reset() before step()")
        self._write_actions(action)
        # Should this call be interrupted, nobody knows how far the workers came: then only a reset helps.
        previous, self._observation = self._observation, None
        self._steps += 1
        lost, self._lost = self._lost, set()
        failed = self._ask({w: ("step", {}) for w in range(len(self._rows)) if w not in lost})
        result = self._result()
        gone = self._of(lost | failed)
        broken = self._broken() & ~gone
        self._not_finite += int(broken.sum())
        if (gone | broken).any():
            result = with_lost(result, previous, gone | broken)
        ended = np.asarray(result.terminated) | np.asarray(result.truncated)
        # The episode that follows was begun, and counted, when this one was lost.
        self._count_episodes(ended & ~self._of(lost))
        self._observation = dict(result.observation)
        return result

    @abc.abstractmethod
    def frames(self, indices: Sequence[int], camera: str = "rgb") -> Array:
        """Pictures uint8 [len(indices), H, W, 3] of the environments named."""

    def metrics(self) -> dict[str, float]:
        return {"env/worker_restarts": float(self._pool.restarts), "env/not_finite": float(self._not_finite)}

    def close(self) -> None:
        """Ends the workers. Idempotent."""
        if self._started is not None:
            self._started.close()
        if self._arrays is not None:
            self._arrays.close()
        elif self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # Workers.

    @property
    def _pool(self) -> WorkerPool:
        assert self._started is not None, "the workers are started first"
        return self._started

    def _start(self, start_deadline_s: float) -> None:
        workers = range(len(self._rows))
        self._started = WorkerPool(
            len(self._rows),
            self._start_worker,
            self._preparation,
            deadline_s=self._deadline_s,
            start_deadline_s=start_deadline_s,
        )
        replies, failures = self._pool.ask({w: self._make_request(w) for w in workers}, start_deadline_s)
        for worker, error in failures.items():
            raise self._start_error(error, self._pool.processes[worker])
        self.spec = self._specify(replies[0].fields)
        layout = self.spec.layout
        columns = [np.arange(*layout["state"][name]) for name in layout.get("proprio", ())]
        self._proprio = np.concatenate(columns) if columns else None  # those of "state" that make "proprio"
        self._low = np.asarray(self.spec.action_low, np.float32)
        self._high = np.asarray(self.spec.action_high, np.float32)
        self._lay_out()
        self._write_seeds(range(self.num_envs))
        _, failures = self._pool.ask({w: self._attach_request() for w in workers}, start_deadline_s)
        for worker, error in failures.items():
            raise self._start_error(error, self._pool.processes[worker])

    def _start_error(self, error: Exception, process: SidecarProcess) -> Exception:
        """Why a worker does not start, in one line where the cause is known."""
        if isinstance(error, RemoteError) and error.type_name == ConfigError.__name__:
            return ConfigError(error.message)
        return RuntimeError(f"{process.name} does not start: {error}\n{process.log_tail()}")

    def _preparation(self, worker: int) -> list[Request]:
        return [self._make_request(worker), self._attach_request(), ("reset", {})]

    def _ask(self, requests: Mapping[int, Request]) -> set[int]:
        """Has workers do it, restarts those that fail (they begin the next episodes), and names these."""
        _, failures = self._pool.ask(requests)
        if failures:
            try:
                self._pool.restart(failures, self._steps)
            except BaseException:
                self.close()
                raise
        return set(failures)

    def _draw(self, requests: Mapping[int, Request]) -> set[int]:
        """Has workers draw, and names those that failed: the next step reports their episodes."""
        failed = self._ask(requests)
        for worker in failed:
            self._lost.add(worker)
            self._count_episodes(self._of({worker}))
        return failed

    def _of(self, workers: Iterable[int]) -> np.ndarray:
        """Which environments [B] are theirs."""
        mask = np.zeros(self.num_envs, bool)
        for worker in workers:
            mask[self._rows[worker]] = True
        return mask

    # Checks.

    def _check_open(self) -> None:
        if self._descriptor < 0:
            raise RuntimeError("the environment is closed")

    def _check_indices(self, indices: Sequence[int], camera: str) -> list[int]:
        self._check_open()
        choice("camera", camera, self.spec.cameras)
        if self._observation is None:
            raise RuntimeError("call reset() before frames()")
        indices = [int(index) for index in indices]
        for index in indices:
            if not 0 <= index < self.num_envs:
                raise ValueError(f"indices: must be in [0, {self.num_envs}), got {index}")
        return indices

    def _check_actions(self, shape: tuple[int, ...], nan: np.ndarray | None = None) -> None:
        needed = (self.num_envs, self.spec.action_dim)
        if shape != needed:
            raise ValueError(f"action: shape must be {needed}, got {shape}")
        if nan is not None and nan.any():
            rows = np.flatnonzero(nan).tolist()
            raise ValueError(f"action: must be numbers, got NaN for environments {rows}")

    # A subclass's.

    @abc.abstractmethod
    def _start_deadline_s(self) -> float:
        """Seconds after which a worker that does not become ready has failed."""

    @abc.abstractmethod
    def _start_worker(self, worker: int) -> SidecarProcess:
        """Starts the process of a worker, without waiting for it."""

    @abc.abstractmethod
    def _make_request(self, worker: int) -> Request:
        """Tells a worker what to make, of the environments `_rows[worker]`."""

    @abc.abstractmethod
    def _specify(self, made: Mapping[str, Any]) -> EnvSpec:
        """The specification, from the reply to that request."""

    @abc.abstractmethod
    def _attach_request(self) -> Request:
        """Tells a worker where the arrays are."""

    @abc.abstractmethod
    def _lay_out(self) -> None:
        """Makes `_arrays`, once `spec` is known."""

    @abc.abstractmethod
    def _write_actions(self, action: Array) -> None:
        """Writes actions [B, A], checked and clipped to the box, where workers read them."""

    @abc.abstractmethod
    def _read(self, prefix: str) -> Observation:
        """Copies of an observation, whose arrays have its entries' names after this prefix: "" or "final_"."""

    @abc.abstractmethod
    def _broken(self) -> np.ndarray:
        """Which environments [B] gave what is not finite in the last step."""

    @abc.abstractmethod
    def _result(self) -> StepResult:
        """What the arrays say of a step, as copies."""
