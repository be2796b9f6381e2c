"""LIBERO tasks as a vector environment whose simulators run in worker processes, which import no jax.

Needs `make libero-env`, or another environment with LIBERO (Python 3.11 or newer, with msgpack) in `env.python`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.libero import tasks
from rpd_jax.envs.libero.config import LiberoConfig
from rpd_jax.envs.process_venv import VenvEnv
from rpd_jax.envs.suite import task_of

_WORKER = "rpd_jax.envs.libero.worker"


class LiberoVectorEnv(VenvEnv):
    """One task, see `process_venv.VenvEnv`; the state is of robot, objects and fixtures, world axes."""

    venv, cameras, proprio, contract = tasks.VENV, tasks.CAMERAS, tasks.PROPRIO, tasks.CONTRACT
    _config: LiberoConfig

    def __init__(self, config: LiberoConfig, seeds: Sequence[int], **options: bool) -> None:
        """See `VenvEnv`."""
        # Members of one seed play the same initial states: what counts is the place among different seeds.
        places = {int(seed): place for place, seed in reversed(list(enumerate(dict.fromkeys(map(int, seeds)))))}
        self._places, self._period = [places[int(seed)] for seed in seeds], len(places)
        super().__init__(config, seeds, **options)

    def _episode_seed(self, index: int) -> int:
        states = self._config.initial_states
        if not states:
            return super()._episode_seed(index)
        return states[(int(self._episode[index]) * self._period + self._places[index]) % len(states)]

    def _module(self) -> str:
        return _WORKER

    def _fields(self) -> Mapping[str, Any]:
        group, number = tasks.parse(task_of(self._config))
        return {
            "benchmark": group.benchmark,
            "number": number,
            "settle_steps": self._config.settle_steps,
            "max_episode_steps": self._config.max_episode_steps or group.max_episode_steps,
        }

    def _specify(self, made: Mapping[str, Any]) -> EnvSpec:
        for fault in tasks.known_faults(made["versions"]["mujoco"]):
            logging.warning("LIBERO with mujoco %s instead of 3.3.2: %s", made["versions"]["mujoco"], fault)
        return dataclasses.replace(super()._specify(made), robot="panda")


def initial_state_of(seed: int | np.ndarray) -> Any:
    """The number of the official initial state that an episode of this reset seed begins in."""
    return seed % tasks.INITIAL_STATES
