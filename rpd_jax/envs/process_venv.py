"""A suite's tasks as vector environments whose simulators run in processes of a virtual environment of their own."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rpd_jax import runtime
from rpd_jax.envs.base import ArraySpec, EnvSpec, slices
from rpd_jax.envs.process_arrays import layout
from rpd_jax.envs.process_pool import PoolEnv
from rpd_jax.envs.suite import task_of
from rpd_jax.envs.venv import Venv, VenvConfig
from rpd_jax.envs.workers import Request
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.ipc.process import SidecarProcess
from rpd_jax.types import ActionContract


class VenvEnv(PoolEnv):
    """One task; see `base.VectorEnv`, which this implements, and `process_pool.PoolEnv`.

    Observations: "state", float32 [B, D], whose parts are named in `spec.layout`; "proprio", those of its parts that
    the suite says; frames of cameras that are drawn at every step; what the workers' reply "entries" names besides.
    """

    venv: ClassVar[Venv]
    cameras: ClassVar[Mapping[str, str]]  # entry of an observation -> the simulator's camera; "rgb" first
    proprio: ClassVar[Sequence[str]]  # parts of the state
    contract: ClassVar[ActionContract | None]

    def __init__(
        self,
        config: VenvConfig,
        seeds: Sequence[int],
        *,
        rgb: bool = False,
        end_on_success: bool = True,
        random_ages: bool = False,
    ) -> None:
        """Starts the workers, which takes some seconds; see `ProcessEnv`.

        Args:
          config: the task and its settings, checked.
          seeds: one base seed per environment.
          rgb: whether the first camera draws every state; those that the student sees do anyway.
          end_on_success: success ends an episode.
          random_ages: see `base.first_ages`.
        """
        self._config, self._end_on_success = config, end_on_success
        self.title = self.venv.title
        self.python = config.python or self.venv.found()
        super().__init__(
            seeds,
            min(config.processes or runtime.available_cores(), len(seeds)),
            drawn=[name for name in self.cameras if name in config.entries or (rgb and name == "rgb")],
            random_ages=random_ages,
            deadline_s=config.deadline_seconds,
        )

    @abc.abstractmethod
    def _fields(self) -> Mapping[str, Any]:
        """What the suite adds to a request "make": "max_episode_steps" and what else its workers read."""

    def _environment(self) -> Mapping[str, str]:
        # Mesa's software renderer without threads of its own, which cost an eighth of the time: there are processes.
        own = {"MUJOCO_GL": "egl", "LP_NUM_THREADS": "0"}
        return {**super()._environment(), **own, **{name: os.environ[name] for name in own if name in os.environ}}

    def _make_request(self, worker: int) -> Request:
        rows = self._rows[worker]
        return "make", {
            "task": task_of(self._config),
            "cameras": dict(self.cameras),
            "image_size": self._config.image_size,
            "reward_mode": self._config.reward,
            "horizon_scale": 1,
            "end_on_success": bool(self._end_on_success),
            "drawn": list(self._drawn),
            "first": rows.start,
            "count": rows.stop - rows.start,
            **self._fields(),
        }

    def _specify(self, made: Mapping[str, Any]) -> EnvSpec:
        state = layout(made["state"])
        proprio = slices({name: state[name][1] - state[name][0] for name in self.proprio})
        image = (self._config.image_size, self._config.image_size, 3)
        sizes = {"state": state, "proprio": proprio}
        vectors = {name: max(stop for _, stop in parts.values()) for name, parts in sizes.items()}
        return EnvSpec(
            name=self._config.name,
            instruction=self._config.instruction or made["instruction"],
            max_episode_steps=made["max_episode_steps"],
            action_dim=len(made["action_low"]),
            action_low=tuple(made["action_low"]),
            action_high=tuple(made["action_high"]),
            observation={
                **{name: ArraySpec((n,), "float32") for name, n in (vectors | made.get("entries", {})).items()},
                **{name: ArraySpec(image, "uint8") for name in self._drawn},
            },
            layout=sizes,
            contract=self.contract,
            frame_shape=image,
            further_cameras={name: image for name in self.cameras if name != "rgb"},
            versions=made["versions"],
        )

    def _start_error(self, error: Exception, process: SidecarProcess) -> Exception:
        text = f"{error}\n{process.log_tail()}"
        if isinstance(error, RemoteError) and error.type_name in ("ModuleNotFoundError", "ImportError"):
            return RuntimeError(
                f"{self.title} cannot be imported by {self.python or 'this interpreter'} ({error.message}): run "
                f"`make {self.venv.target}`, or set env.python to one that can"
            )
        if "No module named" in text:
            return RuntimeError(
                f"{self.python} lacks what a simulator process needs ({text.splitlines()[-1]}): "
                f"{self.python} -m pip install msgpack numpy"
            )
        return super()._start_error(error, process)
