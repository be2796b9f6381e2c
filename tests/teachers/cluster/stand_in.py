"""Teachers for the tests of `teachers.cluster`: draws that depend on a batch's size, and a model in a process."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from rpd_jax.config import TeacherConfig
from rpd_jax.envs.base import EnvSpec
from rpd_jax.instructions import as_instructions
from rpd_jax.ipc.limits import Limits
from rpd_jax.types import TeacherError, TeacherLabels, TeacherSpec
from teachers.base import register_teacher
from teachers.sidecar.launching import Replica
from teachers.sidecar.teacher import SidecarTeacher


@dataclasses.dataclass
class DrawsSettings(TeacherConfig):
    name: str = "draws"
    pids: str = ""  # a directory; for each answer a line in the file named like the process


class Draws:
    """Actions that depend on the state, on the row's instruction and on one draw for the whole batch.

    The instruction "raise" is an error, "crash" kills the process, and "slowly" takes half a second.
    """

    def __init__(self, env_spec: EnvSpec, settings: DrawsSettings) -> None:
        self._settings, self._answers = settings, 0
        self.spec = TeacherSpec("draws", ("state",), contract=None, samples_actions=True, in_graph=True)

    def label(self, observation, instructions, key) -> TeacherLabels:
        said = as_instructions(instructions, len(observation["state"]))
        if said.texts[0] == "raise":
            raise TeacherError("the model\nraised")
        if said.texts[0] == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if said.texts[0] == "slowly":
            time.sleep(0.5)
        self._answers += 1
        if self._settings.pids:
            with (Path(self._settings.pids) / str(os.getpid())).open("a") as file:
                print(len(observation["state"]), file=file)
        state, lengths = jnp.asarray(observation["state"]), jnp.array([len(text) for text in said.texts])
        noise = jax.random.normal(key, (len(state), 7))
        action = state[:, :1] + lengths[said.index][:, None] / 100 + noise
        return TeacherLabels(action, jnp.ones(len(state), bool), jnp.full_like(action, 0.5))

    def metrics(self) -> dict[str, float]:
        return {"teacher/answers": float(self._answers)}


@dataclasses.dataclass
class LinearSettings(TeacherConfig):
    name: str = "linear"
    once: str = ""  # see faulty_linear.py


def linear(env_spec: EnvSpec, settings: LinearSettings) -> SidecarTeacher:
    """The linear stand-in with noise, in a process that is not started a second time."""
    here = str(Path(__file__).parents[1])
    replica = Replica("faulty_linear", (f"--once={settings.once}",), environment={"PYTHONPATH": here})
    return SidecarTeacher(env_spec, [replica], rows=8, limits=Limits(start_deadline_s=60, max_restarts=0))


@dataclasses.dataclass
class AbsentSettings(TeacherConfig):
    name: str = "absent"


def absent(env_spec: EnvSpec, settings: AbsentSettings) -> Draws:
    raise ValueError("there is no such checkpoint")


register_teacher("draws", DrawsSettings, Draws)
register_teacher("linear", LinearSettings, linear)
register_teacher("absent", AbsentSettings, absent)
