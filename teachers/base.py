"""The teacher protocol, and the teachers that can be had by name.

A teacher is made by `make("scripted", env_spec, {"noise": 0.2})`. Each kind's module is imported only when
it is asked for, so that nothing here needs jax, torch or weights that are not there.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import (
    ActionContract,
    ActionStatistics,
    Array,
    Observation,
    Teacher,
    TeacherLabels,
    TeacherSpec,
)

__all__ = [
    "FACTORIES",
    "ActionContract",
    "ActionStatistics",
    "Observation",
    "Teacher",
    "TeacherLabels",
    "TeacherSpec",
    "acting",
    "make",
]

FACTORIES: Mapping[str, str] = {
    "octo": "teachers.octo:make",
    "openvla": "teachers.openvla:make",
    "policy": "teachers.policy:make",
    "remote": "teachers.remote:make",
    "scripted": "teachers.scripted:make",
    "toy": "teachers.toy:make",
}
"""Kind of teacher -> "module:function"; the function takes (env_spec, settings) and returns a Teacher."""


def acting(teacher: Teacher, instruction: str = "") -> Callable[[Observation, Array], Array]:
    """The teacher as a policy: (observations [B, ...], key) -> actions [B, A]."""
    return lambda observation, key: teacher.label(observation, instruction, key).action


def make(
    name: str,
    env_spec: EnvSpec,
    settings: Mapping[str, Any] | None = None,
    factories: Mapping[str, str] = FACTORIES,
) -> Teacher:
    """The teacher of a kind for an environment.

    Args:
      name: the kind, a key of `factories`.
      env_spec: of the environment whose actions are to be labelled.
      settings: what this kind of teacher can be told; its factory checks them.
      factories: the kinds to choose from.
    Raises:
      ValueError: for an unknown kind, naming the choices; and whatever the factory finds wrong.
    """
    if name not in factories:
        close = difflib.get_close_matches(name, factories, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"teacher {name!r} is unknown: choose from {sorted(factories)}{hint}")
    module, _, function = factories[name].partition(":")
    return getattr(importlib.import_module(module), function)(env_spec, dict(settings or {}))
