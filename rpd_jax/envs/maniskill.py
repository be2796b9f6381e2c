"""ManiSkill tasks as a vector environment whose simulators run in worker processes.

Needs `pip install rpd_jax[maniskill]` and a Vulkan device (a software one will do): `python -m launch.doctor`
checks both. This process imports neither torch nor mani_skill.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rpd_jax.envs._pool import Request, WorkerPool
from rpd_jax.envs.base import StepResult, episode_seed
from rpd_jax.envs.maniskill_settings import (
    Settings,
    array_specs,
    divide_motion,
    env_spec,
    proprio_columns,
    start_error,
)
from rpd_jax.envs.tabletop.scene import Camera
from rpd_jax.ipc.arrays import SharedArrays, memory_descriptor
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.types import Array, Observation

_WORKER = "rpd_jax.envs.maniskill_worker"
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


class ManiSkillVectorEnv:
    """`num_envs` environments of one task; see `base.VectorEnv`, which this implements.

    Observations: "state", float32 [B, D], ManiSkill's flat state; "proprio", float32 [B, 25], what a real
    robot knows (joint positions and velocities, tool pose in the world); "rgb", uint8 [B, H, W, 3], the
    task's human render camera, drawn at every step. `spec.layout` names the slices of the first two.

    As in Gymnasium, an episode that succeeds in its last possible step is both terminated and truncated.

    A worker process that dies or does not answer in time is replaced. The episodes that it ran are reported
    by the next `step` as truncated, with reward 0 and the last known observation as the final one; that
    step's actions have no effect on them.
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
        settings = Settings(
            task=task,
            num_envs=num_envs,
            seeds=seeds,
            control_mode=control_mode,
            reward_mode=reward_mode,
            observations=observations,
            image_size=image_size,
            max_episode_steps=max_episode_steps,
            end_on_success=end_on_success,
            processes=processes,
            deadline_s=deadline_s,
            horizon_scale=horizon_scale,
            instruction=instruction,
            camera=camera,
        )
        self.num_envs = num_envs
        self._settings = settings
        self._rows = settings.rows()
        self._episode = np.zeros(num_envs, np.int64)  # episodes begun so far
        self._seeds = np.zeros(num_envs, np.int64)  # of the next ones
        self._observation: Observation | None = None  # None: `reset` comes next
        self._lost: set[int] = set()  # workers whose episodes were lost since the last step
        self._steps = 0
        self._descriptor = memory_descriptor()
        self._arrays: SharedArrays | None = None
        self._pool: WorkerPool | None = None
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
        self._observation = self._read("state", "frame")
        return dict(self._observation)

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
        if lost | failed:
            result = _with_lost(result, previous, self._of(lost | failed))
        ended = np.asarray(result.terminated) | np.asarray(result.truncated)
        # The episode that follows was begun, and counted, when this one was lost.
        self._count_episodes(ended & ~self._of(lost))
        self._observation = dict(result.observation)
        return result

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

    def state_dict(self) -> dict[str, np.ndarray]:
        """{"episode": int64 [num_envs]}: how many episodes each environment has begun."""
        return {"episode": self._episode.copy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Continues the sequences of reset seeds there; `reset` comes next."""
        if set(state) != {"episode"}:
            raise ValueError(f"state: need the entry 'episode', got {sorted(state)}")
        episode = np.asarray(state["episode"])
        if episode.shape != (self.num_envs,) or episode.dtype.kind not in "iu" or (episode < 0).any():
            raise ValueError(
                f"state['episode']: need {self.num_envs} counts, got {episode.dtype} of shape {episode.shape}"
            )
        self._episode = episode.astype(np.int64)
        self._write_seeds(range(self.num_envs))
        self._observation = None

    def metrics(self) -> dict[str, float]:
        return {"env/worker_restarts": float(self._pool.restarts)}

    def close(self) -> None:
        """Ends the workers. Idempotent."""
        if self._pool is not None:
            self._pool.close()
        if self._arrays is not None:
            self._arrays.close()
        elif self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> ManiSkillVectorEnv:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # Workers.

    def _start_deadline_s(self) -> float:
        return 120.0 + 5.0 * self.num_envs / len(self._rows)

    def _start(self, start_deadline_s: float) -> None:
        workers = range(len(self._rows))
        self._pool = WorkerPool(
            len(self._rows),
            self._start_worker,
            self._preparation,
            deadline_s=self._settings.deadline_s,
            start_deadline_s=start_deadline_s,
        )
        replies, failures = self._pool.ask({w: self._make_request(w) for w in workers}, start_deadline_s)
        for worker, error in failures.items():
            raise start_error(error, self._pool.processes[worker])
        self.spec = env_spec(self._settings, replies[0].fields)
        self._proprio = proprio_columns(self.spec)
        self._low = np.asarray(self.spec.action_low, np.float32)
        self._high = np.asarray(self.spec.action_high, np.float32)
        self._lay_out()
        self._write_seeds(range(self.num_envs))
        _, failures = self._pool.ask({w: self._attach_request() for w in workers}, start_deadline_s)
        for worker, error in failures.items():
            raise start_error(error, self._pool.processes[worker])

    def _start_worker(self, worker: int) -> SidecarProcess:
        rows = self._rows[worker]
        return SidecarProcess(
            _WORKER,
            environment=_ONE_THREAD,
            descriptors=[self._descriptor],
            name=f"ManiSkill worker {worker} (environments {rows.start} to {rows.stop - 1})",
        )

    def _make_request(self, worker: int) -> Request:
        return "make", self._settings.request(self._rows[worker])

    def _attach_request(self) -> Request:
        return "attach", {"descriptor": self._descriptor, "table": self._arrays.table()}

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

    # Arrays.

    def _lay_out(self) -> None:
        self._arrays = SharedArrays.create(array_specs(self.spec, self.num_envs), self._descriptor)

    def _publish_seeds(self) -> None:
        self._arrays["seed"][...] = self._seeds

    def _check_open(self) -> None:
        if self._descriptor < 0:
            raise RuntimeError("the environment is closed")

    def _write_seeds(self, indices: Iterable[int]) -> None:
        for index in indices:
            self._seeds[index] = episode_seed(self._settings.seeds[index], int(self._episode[index]))
        self._publish_seeds()

    def _check_indices(self, indices: Sequence[int]) -> list[int]:
        self._check_open()
        if self._observation is None:
            raise RuntimeError("call reset() before frames()")
        indices = [int(index) for index in indices]
        for index in indices:
            if not 0 <= index < self.num_envs:
                raise ValueError(f"indices: must be in [0, {self.num_envs}), got {index}")
        return indices

    def _write_actions(self, action: Array) -> None:
        action = np.asarray(action)
        self._check_actions(action.shape)
        shared = self._arrays["action"]
        np.clip(action, self._low, self._high, out=shared, casting="same_kind")
        self._check_actions(action.shape, np.isnan(shared).any(axis=1))
        divide_motion(shared, self._settings.horizon_scale)

    def _check_actions(self, shape: tuple[int, ...], nan: np.ndarray | None = None) -> None:
        needed = (self.num_envs, self.spec.action_dim)
        if shape != needed:
            raise ValueError(f"action: shape must be {needed}, got {shape}")
        if nan is not None and nan.any():
            rows = np.flatnonzero(nan).tolist()
            raise ValueError(f"action: must be numbers, got NaN for environments {rows}")

    def _result(self) -> StepResult:
        """What the arrays say of a step, as copies."""
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

    def _count_episodes(self, begun: np.ndarray) -> None:
        """Takes note of the environments that began an episode, and gives them the seed of their next one."""
        self._episode += begun
        self._write_seeds(np.flatnonzero(begun))


def _with_lost(result: StepResult, previous: Observation, lost: np.ndarray) -> StepResult:
    """The result where the episodes of `lost` [B] broke off after `previous`; numpy's or JAX's arrays."""
    xp = result.reward.__array_namespace__()

    def chosen(old: Array, new: Array) -> Array:
        return xp.where(lost.reshape(-1, *[1] * (new.ndim - 1)), old, new)

    return result._replace(
        final_observation={name: chosen(previous[name], value) for name, value in result.final_observation.items()},
        reward=xp.where(lost, xp.zeros_like(result.reward), result.reward),
        terminated=result.terminated & ~lost,
        truncated=result.truncated | lost,
        success=result.success & ~lost,
    )
