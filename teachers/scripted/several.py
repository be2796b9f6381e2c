"""The scripted teachers of several tasks as one: each row is labelled by the script of its own task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from rpd_jax.envs.base import INSTRUCTION
from rpd_jax.types import Array, Instructions, Observation, TeacherLabels
from teachers.scripted.teacher import ScriptedTeacher


class SeveralScripted:
    """Asks every script about the whole batch: they cost next to nothing.

    Args:
      teachers: in the order of the environment's tasks, see `rpd_jax.envs.several`, with the same settings.
    """

    def __init__(self, teachers: Sequence[ScriptedTeacher]) -> None:
        self._teachers = teachers
        first = teachers[0].spec
        names = ",".join(teacher.spec.name.partition(":")[2] for teacher in teachers)
        self.spec = dataclasses.replace(
            first, name=f"scripted:{names}", observation_keys=(*first.observation_keys, INSTRUCTION)
        )

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """See `ScriptedTeacher.label`; the observation says which task a row has."""
        answers = [teacher.label(observation, instructions, key) for teacher in self._teachers]
        numbers = jnp.asarray(observation[INSTRUCTION])
        numbers = numbers[:, -1] if self.spec.history > 1 else numbers

        def chosen(*leaves: Array) -> Array:
            rows = jnp.arange(len(numbers))
            return jnp.stack(leaves)[numbers, rows]

        return jax.tree.map(chosen, *answers)
