"""LIBERO tasks as a vector environment whose simulators run in worker processes, which import no jax.

Needs `make libero-env`, or another environment with LIBERO (Python 3.11 or newer, with msgpack) in `env.python`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from rpd_jax.envs.base import ArraySpec, EnvSpec, slices
from rpd_jax.envs.libero import tasks
from rpd_jax.envs.libero.config import LiberoConfig
from rpd_jax.envs.process_arrays import layout
from rpd_jax.envs.process_pool import PoolEnv
from rpd_jax.envs.suite import task_of
from rpd_jax.envs.workers import Request
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.ipc.process import SidecarProcess

_WORKER = "rpd_jax.envs.libero.worker"


class LiberoVectorEnv(PoolEnv):
    """One task; see `base.VectorEnv`, which this implements, and `process_pool.PoolEnv`.

    Observations: "state", float32 [B, D], of robot, objects and fixtures, world axes, whose parts are named in
    `spec.layout`; "proprio", float32 [B, 8], see `tasks.PROPRIO`; those of
    `tasks.CAMERAS` that are drawn at every step.
    """

    title = "LIBERO"

    def __init__(
        self,
        config: LiberoConfig,
        seeds: Sequence[int],
        *,
        drawn: Sequence[str] = (),
        end_on_success: bool = True,
        random_ages: bool = False,
        python: str | None = None,
    ) -> None:
        """Starts the workers, which takes some 10 seconds each; see `ProcessEnv`.

        Args:
          config: the task and its settings, checked.
          seeds: one base seed per environment.
          drawn: the cameras that draw every state.
          end_on_success: success ends an episode.
          random_ages: see `base.first_ages`.
          python: the interpreter that has LIBERO; None: this one.
        """
        self._config, self._end_on_success = config, end_on_success
        self.python = python
        # Members of one seed play the same initial states: what counts is the place among different seeds.
        places = {int(seed): place for place, seed in reversed(list(enumerate(dict.fromkeys(map(int, seeds)))))}
        self._places, self._period = [places[int(seed)] for seed in seeds], len(places)
        super().__init__(
            seeds,
            min(config.processes or len(os.sched_getaffinity(0)), len(seeds)),
            drawn=drawn,
            random_ages=random_ages,
            deadline_s=config.deadline_seconds,
        )

    def _episode_seed(self, index: int) -> int:
        states = self._config.initial_states
        if not states:
            return super()._episode_seed(index)
        return states[(int(self._episode[index]) * self._period + self._places[index]) % len(states)]

    def _module(self) -> str:
        return _WORKER

    def _environment(self) -> Mapping[str, str]:
        # Mesa's software renderer without threads of its own, which cost an eighth of the time: there are processes.
        own = {"MUJOCO_GL": "egl", "LP_NUM_THREADS": "0"}
        return {**super()._environment(), **own, **{name: os.environ[name] for name in own if name in os.environ}}

    def _make_request(self, worker: int) -> Request:
        rows, group = self._rows[worker], tasks.parse(task_of(self._config))
        return "make", {
            "task": task_of(self._config),
            "benchmark": group[0].benchmark,
            "number": group[1],
            "cameras": dict(tasks.CAMERAS),
            "image_size": self._config.image_size,
            "settle_steps": self._config.settle_steps,
            "reward_mode": "sparse",
            "max_episode_steps": self._config.max_episode_steps or group[0].max_episode_steps,
            "horizon_scale": 1,
            "end_on_success": bool(self._end_on_success),
            "drawn": list(self._drawn),
            "first": rows.start,
            "count": rows.stop - rows.start,
        }

    def _specify(self, made: Mapping[str, Any]) -> EnvSpec:
        state = layout(made["state"])
        proprio = slices({name: state[name][1] - state[name][0] for name in tasks.PROPRIO})
        image = (self._config.image_size, self._config.image_size, 3)
        for fault in tasks.known_faults(made["versions"]["mujoco"]):
            logging.warning("LIBERO with mujoco %s instead of 3.3.2: %s", made["versions"]["mujoco"], fault)
        return EnvSpec(
            name=f"libero:{task_of(self._config)}",
            instruction=self._config.instruction or made["instruction"],
            max_episode_steps=made["max_episode_steps"],
            action_dim=len(made["action_low"]),
            action_low=tuple(made["action_low"]),
            action_high=tuple(made["action_high"]),
            observation={
                "state": ArraySpec((max(stop for _, stop in state.values()),), "float32"),
                "proprio": ArraySpec((max(stop for _, stop in proprio.values()),), "float32"),
                **{name: ArraySpec(image, "uint8") for name in self._drawn},
            },
            layout={"state": state, "proprio": proprio},
            contract=tasks.CONTRACT,
            frame_shape=image,
            further_cameras={name: image for name in tasks.CAMERAS if name != "rgb"},
            robot="panda",
            versions=made["versions"],
        )

    def _start_error(self, error: Exception, process: SidecarProcess) -> Exception:
        text = f"{error}\n{process.log_tail()}"
        if isinstance(error, RemoteError) and error.type_name in ("ModuleNotFoundError", "ImportError"):
            return RuntimeError(
                f"LIBERO cannot be imported by {self.python or 'this interpreter'} ({error.message}): run "
                "`make libero-env`, or set env.python to one that can"
            )
        if "No module named" in text:
            return RuntimeError(
                f"{self.python} lacks what a simulator process needs ({text.splitlines()[-1]}): "
                f"{self.python} -m pip install msgpack numpy"
            )
        return super()._start_error(error, process)


def initial_state_of(seed: int | np.ndarray) -> Any:
    """The number of the official initial state that an episode of this reset seed begins in."""
    return seed % tasks.INITIAL_STATES
