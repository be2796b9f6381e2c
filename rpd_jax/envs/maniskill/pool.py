"""ManiSkill tasks as a vector environment whose simulators run in worker processes.

Needs `pip install rpd_jax[maniskill]` and a Vulkan device (a software one will do): `rpd-jax doctor`
checks both. This process imports neither torch nor mani_skill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpd_jax.envs.base import SIMULATOR, Camera, EnvSpec, slices
from rpd_jax.envs.maniskill.base import ManiSkillEnv
from rpd_jax.envs.maniskill.settings import Settings, divide_motion
from rpd_jax.envs.process_arrays import array_specs
from rpd_jax.envs.process_pool import PoolEnv
from rpd_jax.ipc.arrays import SharedArrays
from rpd_jax.types import Observation

_WORKER = "rpd_jax.envs.maniskill.worker"


class ManiSkillVectorEnv(ManiSkillEnv, PoolEnv):
    """`num_envs` environments of one task; see `base.VectorEnv`, which this implements.

    Observations: "state", float32 [B, D], ManiSkill's flat state; "proprio", float32 [B, 25], what a real
    robot knows (joint positions and velocities, tool pose in the world); "rgb", uint8 [B, H, W, 3], the
    task's human render camera, drawn at every step. `spec.layout` names the slices of the first two.

    As in Gymnasium, an episode that succeeds in its last possible step is both terminated and truncated. What happens
    where a worker fails says `process_pool.PoolEnv`.
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
          task: ManiSkill's name of it; most is known of those in `tasks.TASKS`.
          num_envs: how many environments.
          seeds: one base seed per environment; its k-th episode is reset with `episode_seed(seed, k)`.
          control_mode: one of `tasks.CONTROL_MODES`.
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
          instruction: the task in words; empty: see `tasks.instruction`.
          camera: of "rgb" and `frames`, instead of the task's human render camera.

        Raises:
          ValueError: an argument that cannot be, such as a task that ManiSkill has not.
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

    def tell_simulator_state(self) -> Mapping[str, tuple[int, int]]:
        """See `base.TellsSimulatorState`: ManiSkill's `get_state_dict`, parts named by their paths, "actors/cube"."""
        self._shared["tells"][...] = True
        return self._simulator

    def _module(self) -> str:
        return _WORKER

    def _specify(self, made: Mapping[str, Any]) -> EnvSpec:
        self._simulator = slices(dict(made["simulator"]))
        return super()._specify(made)

    def _lay_out(self) -> None:
        size = max(stop for _, stop in self._simulator.values())
        own = {"tells": ((), "bool"), SIMULATOR: ((size,), "float32"), f"final_{SIMULATOR}": ((size,), "float32")}
        own_specs = {name: ((self.num_envs, *shape), dtype) for name, (shape, dtype) in own.items()}
        self._arrays = SharedArrays.create(array_specs(self.spec, self.num_envs) | own_specs, self._descriptor)

    def _read(self, prefix: str) -> Observation:
        observation = super()._read(prefix)
        if self._shared["tells"].any():
            observation[SIMULATOR] = self._shared[prefix + SIMULATOR].copy()
        return observation

    def _adjust(self, action: np.ndarray) -> None:
        divide_motion(action, self._settings.horizon_scale)
