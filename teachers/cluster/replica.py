"""A teacher in an actor of Ray. Imports no jax at its head: the environment is set up first."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.config.tagged import imported
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.envs.base import EnvSpec
from rpd_jax.ipc.supervised import SidecarFailed
from rpd_jax.ipc.text import one_line
from rpd_jax.types import Instructions, Observation, Teacher, TeacherError, TeacherSpec


class Recipe(NamedTuple):
    """What a teacher is made of: also one whose kind only the learner's program has registered."""

    factory: Callable[[EnvSpec | None, Any], Teacher] | str
    kind: type[TeacherConfig]
    values: Mapping[str, Any]
    env_spec: EnvSpec | None

    def make(self) -> Teacher:
        TeacherConfig.kinds.setdefault(self.values["name"], self.kind)
        factory = imported(self.factory) if isinstance(self.factory, str) else self.factory
        return factory(self.env_spec, self.kind(**self.values))


class Key(NamedTuple):
    """A random key of JAX as plain data."""

    data: np.ndarray
    kind: str


class Account(NamedTuple):
    """What a replica says of itself once its teacher is there."""

    spec: TeacherSpec
    rows: int | None  # observations of a part of a call, see `teachers.parts`; None: calls are not divided
    whole_batches: bool  # see `rpd_jax.guidance.stream.BackgroundTeacher`
    where: str  # address of its node


class Answer(NamedTuple):
    """To a call: a pytree of numpy arrays, and the teacher's counters since it was made."""

    result: Any
    metrics: dict[str, float]


class Broken(NamedTuple):
    """In place of an answer: the replica has no teacher any more, until it is asked for its account."""

    reason: str


def environment(uses_jax: bool, gpus: float) -> dict[str, str]:
    """Variables of a replica: JAX takes no GPU that it does not need, and no more of one than is its own."""
    found = {"JAX_NUM_CPU_DEVICES": "1"}
    if not gpus:
        found["CUDA_VISIBLE_DEVICES"] = ""
    if not (gpus and uses_jax):
        found["JAX_PLATFORMS"] = "cpu"
    elif gpus < 1:
        found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.75 * gpus:.3f}"  # JAX's own share of a whole one is 0.75
    return found


class Replica:
    """The actor. One that Ray has started again has no teacher until `account` is asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        os.environ.update(variables)
        self._teacher: Any = None

    def account(self, recipe: Recipe) -> Account:
        """Makes the teacher, if it is not there yet."""
        from rpd_jax import runtime
        from rpd_jax.guidance.stream import BackgroundTeacher

        if self._teacher is None:
            runtime.configure()
            self._teacher = recipe.make()
        import ray

        return Account(
            spec=self._teacher.spec,
            rows=getattr(self._teacher, "rows", None),
            whole_batches=not isinstance(self._teacher, BackgroundTeacher),
            where=ray.util.get_node_ip_address(),
        )

    def call(
        self, method: str, observation: Observation, instructions: Instructions | str, last: Key | np.ndarray
    ) -> Answer | Broken:
        """Calls one of the teacher's methods; `last` is the key, or the tokens to score."""
        import jax
        import jax.numpy as jnp

        if self._teacher is None:
            return Broken("it was started again")
        if isinstance(last, Key):
            last = jax.random.wrap_key_data(jnp.asarray(last.data), impl=last.kind)
        try:
            result = getattr(self._teacher, method)(observation, instructions, last)
        except TeacherError as error:
            if not isinstance(error.__cause__, SidecarFailed):
                raise
            self._teacher.close()  # its model's process is gone for good
            self._teacher = None
            return Broken(one_line(error))
        return Answer(jax.tree.map(np.asarray, result), getattr(self._teacher, "metrics", dict)())
