"""A vector environment whose simulators run in several processes, which write into arrays in shared host memory."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np

from rpd_jax.envs.base import StepResult
from rpd_jax.envs.process_arrays import array_specs, told
from rpd_jax.envs.process_env import ProcessEnv
from rpd_jax.envs.workers import Request
from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.types import Array, Observation

_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class PoolEnv(ProcessEnv):
    """See `base.VectorEnv`; a subclass says what workers are to make.

    A worker process that dies or does not answer in time is replaced. The episodes that it ran are reported
    by the next `step` as truncated, with reward 0 and the last known observation as the final one; that
    step's actions have no effect on them. So are episodes whose simulation gives what is not finite: those end at the
    observation before.
    """

    title = "simulator"  # of its processes, in messages
    python: str | None = None  # the interpreter that they run in; None: this process's

    def frames(self, indices: Sequence[int], camera: str = "rgb") -> np.ndarray:
        """Draws only the environments named, as uint8 [len(indices), H, W, 3].

        Where a worker fails here, the picture is of the next episode's first state already.

        Raises:
          ValueError: an index out of range.
          RuntimeError: closed, not reset, or workers fail again and again.
        """
        indices = self._check_indices(indices, camera)
        requests: dict[int, Request] = {}
        for worker, rows in enumerate(self._rows):
            if its := sorted({index for index in indices if rows.start <= index < rows.stop}):
                requests[worker] = ("frames", {"indices": its, "camera": camera})
        # Where every state is drawn anyway, the pictures are there.
        while requests and camera not in self._drawn:
            failed = self._draw(requests)
            requests = {worker: requests[worker] for worker in failed}
        return self._shared[camera][indices]

    # A subclass's.

    @abc.abstractmethod
    def _module(self) -> str:
        """The module that a worker process runs; see `process_worker.Worker`."""

    def _environment(self) -> Mapping[str, str]:
        """Variables of the environment of its processes."""
        return _ONE_THREAD

    def _adjust(self, action: np.ndarray) -> None:
        """Changes actions [B, A] of the box, in place, into what the simulator is told."""

    # Workers.

    def _start_deadline_s(self) -> float:
        return 120.0 + 5.0 * self.num_envs / len(self._rows)

    def _start_worker(self, worker: int) -> SidecarProcess:
        rows = self._rows[worker]
        return SidecarProcess(
            self._module(),
            python=self.python,
            environment=self._environment(),
            descriptors=[self._descriptor],
            name=f"{self.title} worker {worker} (environments {rows.start} to {rows.stop - 1})",
        )

    def _attach_request(self) -> Request:
        return "attach", {"descriptor": self._descriptor, "table": self._shared.table()}

    # Arrays.

    @property
    def _shared(self) -> SharedArrays:
        assert isinstance(self._arrays, SharedArrays), "the arrays are laid out first"
        return self._arrays

    def _lay_out(self) -> None:
        self._arrays = SharedArrays.create(array_specs(self.spec, self.num_envs), self._descriptor)

    def _publish_seeds(self) -> None:
        self._shared["seed"][...] = self._seeds
        self._shared["age"][...] = self._ages

    def _write_actions(self, action: Array) -> None:
        action = np.asarray(action)
        self._check_actions(action.shape)
        shared = self._shared["action"]
        np.clip(action, self._low, self._high, out=shared, casting="same_kind")
        self._check_actions(action.shape, np.isnan(shared).any(axis=1))
        self._adjust(shared)

    def _broken(self) -> np.ndarray:
        return self._shared["broken"].copy()

    def _result(self) -> StepResult:
        flags = {name: self._shared[name].copy() for name in ("terminated", "truncated", "success")}
        ended = (flags["terminated"] | flags["truncated"] | self._shared["broken"]).any()
        observation = self._read("")
        # Where no episode ended the final observation is the same one: its pictures need not be copied too.
        final = self._read("final_") if ended else dict(observation)
        return StepResult(observation, final, reward=self._shared["reward"].copy(), **flags)

    def _read(self, prefix: str) -> Observation:
        observation: Observation = {"state": self._shared[f"{prefix}state"].copy()}
        if self._proprio is not None:
            observation["proprio"] = observation["state"][:, self._proprio]
        for name in (*self._drawn, *told(self.spec)):
            observation[name] = self._shared[f"{prefix}{name}"].copy()
        return observation
