"""ManiSkill tasks simulated by the thousand on the learner's GPU; a process of their own runs torch and ManiSkill.

This process imports neither. Both use memory of one GPU: JAX must not take nearly all of it (by default it takes three
quarters), see XLA_PYTHON_CLIENT_MEM_FRACTION.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.envs import rewards
from rpd_jax.envs.base import StepResult
from rpd_jax.envs.maniskill.base import ManiSkillEnv
from rpd_jax.envs.maniskill.settings import Settings, divided_motion
from rpd_jax.envs.process_arrays import array_specs
from rpd_jax.envs.workers import Request
from rpd_jax.ipc.device import DeviceArrays, cuda_number
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.types import Array, Observation

_WORKER = "rpd_jax.envs.maniskill.gpu_worker"
_PICTURES = 256  # rows of `frame` where not every state is drawn
_START_S = 600.0


class ManiSkillGPUVectorEnv(ManiSkillEnv):
    """As `pool.ManiSkillVectorEnv`, with all environments in one batched simulation. What differs:

    * Observations, rewards and flags are JAX arrays on the device. They are copied there, from memory that both
      processes map, and stay valid; nothing but flags and seeds passes through the host.
    * An environment's episodes are not reproducible, nor paired with those of other members of the same seed: PhysX on
      a GPU is not deterministic, and ManiSkill draws the initial states of all rows from one generator. Where all begin
      together (`reset`, or a common time limit) it is seeded with the first row's seed; where only some do, it goes on.
    * The shapes of PegInsertionSide's pegs are drawn once, from the first seeds.
    * The control modes with targets (pd_ee_target_delta_pose and the like): ManiSkill resets the targets of all
      environments whenever one begins an episode.
    * When the process fails, all environments are truncated and begin their next episodes.
    * Asking for `frames` draws all environments.
    """

    def __init__(self, task: str, num_envs: int, seeds: Sequence[int], *, device: str | None = None, **options: Any):
        """Starts the process; takes some seconds, with thousands of environments a minute.

        Args:
          task, num_envs, seeds, options: see `pool.ManiSkillVectorEnv`; there is no option `processes`.
          device: "cuda:N"; None: JAX's first. "cpu", for tests: with num_envs=1.

        Raises:
          ValueError: an argument that cannot be.
          RuntimeError: JAX sees no GPU; see also `ManiSkillVectorEnv`.
          CudaError: there is not enough memory on the GPU.
        """
        self._device = _first_gpu() if device is None else device
        cuda_number(self._device)
        self._views: dict[str, Array] = {}
        super().__init__(Settings(task, num_envs, seeds, processes=1, **options))

    def frames(self, indices: Sequence[int], camera: str = "rgb") -> Array:
        """Pictures uint8 [len(indices), H, W, 3] of the environments named, on the device; see `ManiSkillVectorEnv`."""
        indices = self._check_indices(indices, camera)
        if self._drawn:
            assert self._observation is not None, "`_check_indices` says that there is one"
            return placement.rows(self._observation["rgb"], np.asarray(indices, int))
        rows = sorted(set(indices))
        if not rows:
            return self._views["rgb"][:0]
        found = []
        for first in range(0, len(rows), _PICTURES):
            some = rows[first : first + _PICTURES]
            while self._draw({0: ("frames", {"indices": some, "camera": camera})}):
                pass
            # The copy is made before the other side, told by the next message, writes again.
            found.append(jax.block_until_ready(jnp.copy(self._views["rgb"]))[: len(some)])
        return placement.rows(jnp.concatenate(found), np.searchsorted(rows, np.asarray(indices, int)))

    def close(self) -> None:
        """Ends the process and frees the shared memory. Idempotent."""
        self._views = {}  # before the memory goes
        if self._arrays is not None and self._device != "cpu" and self._descriptor >= 0:
            os.close(self._descriptor)  # nobody else's
        super().close()

    # Workers.

    def _start_deadline_s(self) -> float:
        return _START_S

    def _start_worker(self, worker: int) -> SidecarProcess:
        name = f"ManiSkill on {self._device} ({self.num_envs} environments)"
        return SidecarProcess(_WORKER, descriptors=[self._descriptor], name=name)

    def _make_request(self, worker: int) -> Request:
        kind, fields = super()._make_request(worker)
        return kind, {**fields, "device": self._device}

    def _attach_request(self) -> Request:
        return "attach", self._shared.share()

    # Arrays.

    @property
    def _shared(self) -> DeviceArrays:
        assert isinstance(self._arrays, DeviceArrays), "the arrays are laid out first"
        return self._arrays

    def _lay_out(self) -> None:
        specs = array_specs(self.spec, self.num_envs)
        if not self._drawn:
            del specs["final_rgb"]
            (_, *image), dtype = specs["rgb"]
            specs["rgb"] = ((min(self.num_envs, _PICTURES), *image), dtype)
        descriptor = self._descriptor if self._device == "cpu" else None
        self._arrays = arrays = DeviceArrays.create(specs, self._device, descriptor=descriptor)
        read = ["state", "final_state", "reward", "terminated", "truncated", "success", "rgb"]
        read += ["final_rgb"] if self._drawn else []
        self._views = {name: jax.dlpack.from_dlpack(arrays.view(name)) for name in read}
        self._to_box = jax.jit(self._boxed)
        self._to_result = jax.jit(self._copied)
        self._to_observation = jax.jit(self._observed, static_argnums=1)

    def _publish_seeds(self) -> None:
        self._shared.write("seed", self._seeds)
        self._shared.write("age", self._ages)

    def _write_actions(self, action: Array) -> None:
        self._check_actions(np.shape(action))
        boxed, nan = self._to_box(jnp.asarray(action, jnp.float32))
        self._check_actions(boxed.shape, np.asarray(nan))
        self._shared.write("action", boxed.block_until_ready())

    def _boxed(self, action: Array) -> tuple[Array, Array]:
        boxed = jnp.clip(action, self._low[None], self._high[None])
        return divided_motion(boxed, self._settings.horizon_scale), jnp.isnan(action).any(axis=1)

    def _read(self, prefix: str) -> Observation:
        return jax.block_until_ready(self._to_observation(self._views, prefix))

    def _broken(self) -> np.ndarray:
        return self._shared.read("broken")

    def _result(self) -> StepResult:
        # The copy is made before the other side, told by the next message, writes again.
        return jax.block_until_ready(self._to_result(self._views))

    def _observed(self, views: Mapping[str, Array], prefix: str) -> Observation:
        observation: Observation = {"state": jnp.copy(views[f"{prefix}state"])}
        if self._proprio is not None:
            observation["proprio"] = views[f"{prefix}state"][:, self._proprio]
        if self._drawn:
            observation["rgb"] = jnp.copy(views[f"{prefix}rgb"])
        return observation

    def _copied(self, views: Mapping[str, Array]) -> StepResult:
        reward: Array = jnp.copy(views["reward"])
        success = jnp.copy(views["success"])
        if self._settings.reward_mode in rewards.KINDS:
            state, parts = views["final_state"], self.spec.layout["state"]
            entries = {name: state[:, slice(*where)] for name, where in parts.items()}
            simplified = rewards.simplified(self._settings.task, self._settings.reward_mode)
            reward = jax.vmap(simplified)(entries, success).astype(jnp.float32)
        return StepResult(
            observation=self._observed(views, ""),
            final_observation=self._observed(views, "final_"),
            reward=reward,
            terminated=jnp.copy(views["terminated"]),
            truncated=jnp.copy(views["truncated"]),
            success=success,
        )


def _first_gpu() -> str:
    first = placement.first_gpu()
    if first is None:
        raise RuntimeError(
            f"simulator='gpu' needs a GPU that JAX sees, its first device is {jax.local_devices()[0]}: "
            "install the extra cuda13 or cuda12 (rpd-jax doctor says which), or use 'cpu'"
        )
    return first
