"""The teacher protocol, teachers by name, and the registration of other kinds.

A kind of teacher is a dataclass of settings and a factory. One of your own, in one file:

    @dataclasses.dataclass
    class MineSettings(TeacherConfig):
        name: str = "mine"
        strength: float = setting(1.0, above=0)  # beside the settings that every teacher has

    def make(env_spec: EnvSpec, settings: MineSettings) -> Teacher:
        return MineTeacher(env_spec, settings.strength)

    register_teacher("mine", MineSettings, make)

Then `TeacherConfig(name="mine", strength=2.0)` is one, in Python, in JSON and, after `--import=FILE_S_MODULE`, as
`--config.teacher.name=mine`. The library's own kinds are named in `rpd_jax.config.teacher`. Needs no jax: what a kind
needs is imported when it is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rpd_jax.config.tagged import imported
from rpd_jax.config.teacher import TeacherConfig
from rpd_jax.config.validation import ConfigError, check, require
from rpd_jax.envs.base import EnvSpec
from rpd_jax.types import (
    ActionContract,
    ActionStatistics,
    Array,
    Instructions,
    Observation,
    Teacher,
    TeacherLabels,
    TeacherSpec,
)

__all__ = [
    "ActionContract",
    "ActionStatistics",
    "Instructions",
    "Observation",
    "Teacher",
    "TeacherLabels",
    "TeacherSpec",
    "acting",
    "load",
    "make",
    "register_teacher",
]

_OWN = frozenset(TeacherConfig.kinds)
_PLACED = {"ray": "teachers.cluster.teacher:RayTeacher"}  # placement -> what is made of (env_spec, settings)


def register_teacher(
    name: str, settings_class: type[TeacherConfig], factory: Callable[[EnvSpec, Any], Teacher] | str
) -> None:
    """Makes a kind of teacher known by its name; a second registration replaces the first.

    Args:
      name: of the kind.
      settings_class: a dataclass, subclass of TeacherConfig whose `name` defaults to this name. Where its class
        variable `needs_environment` is False, the teacher can be had without an environment.
      factory: takes (env_spec, settings) and returns the teacher, whose `spec.contract` says in which action contract
        its labels are (None: the environment's); or "module:function", which is imported when needed.

    Raises:
      ConfigError: a name that one of the library's own kinds has, or a dataclass that is not the settings of a teacher.
    """
    require(name not in _OWN, "teacher name", name, f"none of the library's own: {', '.join(sorted(_OWN))}")
    fits = isinstance(settings_class, type) and issubclass(settings_class, TeacherConfig)
    require(fits, "settings_class", settings_class, "a subclass of rpd_jax.config.TeacherConfig")
    default = getattr(settings_class.__dict__.get("__dataclass_fields__", {}).get("name"), "default", None)
    require(default == name, f"{settings_class.__name__}.name", default, f"{name!r} by default, in a dataclass")
    settings_class.factory = staticmethod(factory) if callable(factory) else factory
    TeacherConfig.kinds[name] = settings_class


def make(env_spec: EnvSpec | None, settings: TeacherConfig) -> Teacher:
    """The teacher of some settings, which it keeps a copy of; where they place it elsewhere, what stands for it here.

    Args:
      env_spec: of the environment whose transitions are to be labelled; None: there is none.
      settings: of one kind.

    Raises:
      ConfigError: an unknown kind, a value that cannot work, or a teacher that needs an environment and is given none.
      ValueError: what the factory finds wrong besides.
    """
    settings = dataclasses.replace(settings)
    check(settings, "teacher.")
    settings.check_together()
    if env_spec is None and settings.needs_environment:
        raise ConfigError(f"teacher.name={settings.name!r} cannot work without an environment: give an env_spec")
    factory = _PLACED.get(settings.placement, settings.factory)
    if isinstance(factory, str):
        factory = imported(factory)
    return factory(env_spec, settings)


def load(name: str, env_spec: EnvSpec | None = None, /, **settings: Any) -> Teacher:
    """A teacher by itself, e.g. `load("octo", path="octo-nano")` or `load("scripted", env.spec, noise=0.2)`.

    Its labels are in its own action contract, `spec.contract`; `teachers.settings.teacher_factory` converts them.

    Args:
      name: the kind.
      env_spec: of the environment to label for; None, for kinds that need none (octo).
      settings: of this kind; the others have their defaults.

    Raises:
      ConfigError, ValueError: as `make`; a setting that the kind does not have.
    """
    kind = TeacherConfig(name=name)
    kind.check_kind()
    for field, value in settings.items():
        setattr(kind, field, value)
    return make(env_spec, kind)


def acting(teacher: Teacher, instructions: Instructions | str = "") -> Callable[[Observation, Array], Array]:
    """The teacher as a policy: (observations [B, ...], key) -> actions [B, A]."""
    return lambda observation, key: teacher.label(observation, instructions, key).action
