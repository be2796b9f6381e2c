"""A teacher whose labels are translated into the environment's action contract."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import cast

from rpd_jax.actions.contracts import check_convertible, convert_std, converted
from rpd_jax.envs.base import EnvSpec
from rpd_jax.guidance.stream import BackgroundTeacher
from rpd_jax.types import (
    Array,
    ChunkTeacher,
    Instructions,
    Observation,
    Teacher,
    TeacherLabels,
    TokenLabels,
    TokenScores,
    TokenTeacher,
)


class ConvertedTeacher:
    """Wraps a teacher that speaks a contract of its own (`teacher.spec.contract`).

    Args:
      teacher: whose labels to translate.
      env_spec: of the environment; they are translated into its `undivided_contract`, so that the numbers of a label
        do not depend on the environment's horizon scale.
      gripper: "fixed" or "reference", see `rpd_jax.actions.contracts.convert`.

    Raises:
      ValueError: the contracts cannot be converted into each other; the field is named.
    """

    def __init__(self, teacher: Teacher, env_spec: EnvSpec, gripper: str = "fixed") -> None:
        source, target = teacher.spec.contract, env_spec.undivided_contract
        check_convertible(source, target)
        assert source is not None and target is not None
        self._teacher, self._gripper = teacher, gripper
        self._source, self._target = source, target
        # Its tokens are of its own contract: to the environment they are none.
        self.spec = dataclasses.replace(teacher.spec, contract=None, tokens=None)
        self.whole_batches = getattr(teacher, "whole_batches", False)
        if hasattr(teacher, "begin_score"):
            self.begin_score = teacher.begin_score
        if hasattr(teacher, "label_chunk"):
            self.label_chunk = functools.partial(self._label_chunk, cast(ChunkTeacher, teacher))
        if isinstance(teacher, BackgroundTeacher):  # then this one is, too
            self.poll, self.begin = teacher.poll, functools.partial(self._begin, teacher)

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels a batch in the environment's contract."""
        return self._converted(self._teacher.label(observation, instructions, key))

    def label_tokens(self, observation: Observation, instructions: Instructions | str, key: Array) -> TokenLabels:
        """As `label`, with the tokens of a teacher that has such; see `rpd_jax.types.TokenTeacher`."""
        found = cast(TokenTeacher, self._teacher).label_tokens(observation, instructions, key)
        return found._replace(labels=self._converted(found.labels))

    def score(self, observation: Observation, instructions: Instructions | str, tokens: Array) -> TokenScores:
        """The teacher's own scores of its tokens; see `rpd_jax.types.TokenTeacher`."""
        return cast(TokenTeacher, self._teacher).score(observation, instructions, tokens)

    def metrics(self) -> dict[str, float]:
        """The teacher's, if it has any."""
        return getattr(self._teacher, "metrics", dict)()

    def close(self) -> None:
        """Closes the teacher, if it can be."""
        if hasattr(self._teacher, "close"):
            self._teacher.close()

    def _label_chunk(
        self, teacher: ChunkTeacher, observation: Observation, instructions: Instructions | str, key: Array
    ) -> TeacherLabels:
        return self._converted(teacher.label_chunk(observation, instructions, key))

    def _begin(
        self, teacher: BackgroundTeacher, observation: Observation, instructions: Instructions | str, key: Array
    ) -> Callable[[], TeacherLabels]:
        wait = teacher.begin(observation, instructions, key)
        return lambda: self._converted(wait())

    def _converted(self, labels: TeacherLabels) -> TeacherLabels:
        action, clipped = converted(labels.action, self._source, self._target, self._gripper)
        std = convert_std(labels.std, self._source, self._target, self._gripper)
        return labels._replace(action=action, std=std, clipped=clipped)
