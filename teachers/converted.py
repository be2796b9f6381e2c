"""A teacher whose labels are translated into the environment's action contract."""

from __future__ import annotations

import dataclasses

from rpd_jax.contracts import check_convertible, convert, convert_std
from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import Array, Observation, Teacher, TeacherLabels


class ConvertedTeacher:
    """Wraps a teacher that speaks a contract of its own (`teacher.spec.contract`).

    Args:
      teacher: whose labels to translate.
      env_spec: of the environment, whose contract they are translated into.
      gripper: "fixed" or "reference", see `rpd_jax.contracts.convert`.

    Raises:
      ValueError: the contracts cannot be converted into each other; the field is named.
    """

    def __init__(self, teacher: Teacher, env_spec: EnvSpec, gripper: str = "fixed") -> None:
        source, target = teacher.spec.contract, env_spec.contract
        check_convertible(source, target)
        assert source is not None and target is not None
        self._teacher, self._gripper = teacher, gripper
        self._source, self._target = source, target
        self.spec = dataclasses.replace(teacher.spec, contract=None)

    def label(self, observation: Observation, instruction: str, key: Array) -> TeacherLabels:
        """Labels a batch in the environment's contract."""
        labels = self._teacher.label(observation, instruction, key)
        return labels._replace(
            action=convert(labels.action, self._source, self._target, self._gripper),
            std=convert_std(labels.std, self._source, self._target, self._gripper),
        )
