"""ManiSkill tasks as a vector environment whose simulators run in worker processes.

Needs `pip install rpd_jax[maniskill]` and a Vulkan device (a software one will do): `python -m launch.doctor`
checks both. This process imports neither torch nor mani_skill.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rpd_jax.envs.base import StepResult
from rpd_jax.envs.maniskill.base import ManiSkillEnv
from rpd_jax.envs.maniskill.settings import Settings, array_specs, divide_motion
from rpd_jax.envs.tabletop.scene import Camera
from rpd_jax.envs.workers import Request
from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.types import Array, Observation

_WORKER = "rpd_jax.envs.maniskill.worker"
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class ManiSkillVectorEnv(ManiSkillEnv):
    """`num_envs` environments of one task; see `base.VectorEnv`, which this implements.

    Observations: "state", float32 [B, D], ManiSkill's flat state; "proprio", float32 [B, 25], what a real
    robot knows (joint positions and velocities, tool pose in the world); "rgb", uint8 [B, H, W, 3], the
    task's human render camera, drawn at every step. `spec.layout` names the slices of the first two.

    As in Gymnasium, an episode that succeeds in its last possible step is both terminated and truncated.

    A worker process that dies or does not answer in time is replaced. The episodes that it ran are reported
    by the next `step` as truncated, with reward 0 and the last known observation as the final one; that
    step's actions have no effect on them. So are episodes whose simulation gives what is not finite: those end at the
    observation before.
    """

    def __init__(
        self,
        task: str,
        num_envs: int,
        seeds: Sequence[int],
        *,
        control_mode: str = "pd_ee_delta_pose",
        reward_mode: str = "normalized_dense",
        observations: Sequence[str] = ("state",),
        image_size: int = 256,
        max_episode_steps: int | None = None,
        end_on_success: bool = True,
        random_ages: bool = False,
        processes: int | None = None,
        deadline_s: float = 60.0,
        horizon_scale: int = 1,
        instruction: str = "",
        camera: Camera | None = None,
    ):
        """Starts the workers; takes some seconds.

        Args:
          task: one of `maniskill_tasks.TASKS`.
          num_envs: how many environments.
          seeds: one base seed per environment; its k-th episode is reset with `episode_seed(seed, k)`.
          control_mode: one of `maniskill_tasks.CONTROL_MODES`.
          reward_mode: "normalized_dense" (at most 1 a step), "dense", "sparse", or "v2" or "v3", see `rewards.py`.
          observations: "rgb" adds pictures; "state" and "proprio" are there anyway.
          image_size: pixels, of "rgb" and of `frames`.
          max_episode_steps: at a `horizon_scale` of 1; None means ManiSkill's own limit for the task.
          end_on_success: success ends an episode (`terminated`); False lets it run on, for evaluation.
          random_ages: episodes that begin together (by `reset`, or where a worker was replaced) begin at ages of their
            own, see `base.first_ages`.
          processes: how many workers at most; None means one per processor.
          deadline_s: seconds after which a worker that does not answer is replaced.
          horizon_scale: k gives episodes k times the steps, each of which moves and turns the tool by a k-th; only
            in control mode "pd_ee_delta_pose".
          instruction: the task in words; empty: what RPD's teachers were fine-tuned with.
          camera: of "rgb" and `frames`, instead of the task's human render camera.

        Raises:
          ValueError: an argument that cannot be.
          RuntimeError: mani_skill or a Vulkan device is missing, or a worker cannot start.
        """
        super().__init__(
            Settings(
                task=task,
                num_envs=num_envs,
                seeds=seeds,
                control_mode=control_mode,
                reward_mode=reward_mode,
                observations=observations,
                image_size=image_size,
                max_episode_steps=max_episode_steps,
                end_on_success=end_on_success,
                random_ages=random_ages,
                processes=processes,
                deadline_s=deadline_s,
                horizon_scale=horizon_scale,
                instruction=instruction,
                camera=camera,
            )
        )

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """Draws only the environments named, as uint8 [len(indices), H, W, 3].

        Where a worker fails here, the picture is of the next episode's first state already.

        Raises:
          ValueError: an index out of range.
          RuntimeError: closed, not reset, or workers fail again and again.
        """
        indices = self._check_indices(indices)
        requests: dict[int, Request] = {}
        for worker, rows in enumerate(self._rows):
            if its := sorted({index for index in indices if rows.start <= index < rows.stop}):
                requests[worker] = ("frames", {"indices": its})
        # Where every state is drawn anyway, the pictures are there.
        while requests and not self._settings.draws:
            failed = self._draw(requests)
            requests = {worker: requests[worker] for worker in failed}
        return self._arrays["frame"][indices]

    # Workers.

    def _start_deadline_s(self) -> float:
        return 120.0 + 5.0 * self.num_envs / len(self._rows)

    def _start_worker(self, worker: int) -> SidecarProcess:
        rows = self._rows[worker]
        return SidecarProcess(
            _WORKER,
            environment=_ONE_THREAD,
            descriptors=[self._descriptor],
            name=f"ManiSkill worker {worker} (environments {rows.start} to {rows.stop - 1})",
        )

    def _attach_request(self) -> Request:
        return "attach", {"descriptor": self._descriptor, "table": self._arrays.table()}

    # Arrays.

    def _lay_out(self) -> None:
        self._arrays = SharedArrays.create(array_specs(self.spec, self.num_envs), self._descriptor)

    def _publish_seeds(self) -> None:
        self._arrays["seed"][...] = self._seeds
        self._arrays["age"][...] = self._ages

    def _write_actions(self, action: Array) -> None:
        action = np.asarray(action)
        self._check_actions(action.shape)
        shared = self._arrays["action"]
        np.clip(action, self._low, self._high, out=shared, casting="same_kind")
        self._check_actions(action.shape, np.isnan(shared).any(axis=1))
        divide_motion(shared, self._settings.horizon_scale)

    def _broken(self) -> np.ndarray:
        return self._arrays["broken"].copy()

    def _result(self) -> StepResult:
        return StepResult(
            observation=self._read("state", "frame"),
            final_observation=self._read("final_state", "final_frame"),
            reward=self._arrays["reward"].copy(),
            terminated=self._arrays["terminated"].copy(),
            truncated=self._arrays["truncated"].copy(),
            success=self._arrays["success"].copy(),
        )

    def _read(self, state: str, frame: str) -> Observation:
        values = self._arrays[state].copy()
        observation = {"state": values, "proprio": values[:, self._proprio]}
        if self._settings.draws:
            observation["rgb"] = self._arrays[frame].copy()
        return observation
