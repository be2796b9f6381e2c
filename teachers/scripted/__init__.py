"""Geometric teachers of adjustable skill, one file per task: toys, labelled as such (`spec.is_scripted`)."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from rpd_jax.config.validation import choice
from rpd_jax.envs.base import EnvSpec
from teachers.sampling import Sampling
from teachers.scripted.corruption import Corruption
from teachers.scripted.geometry import Task
from teachers.scripted.teacher import ScriptedTeacher

TASKS: Mapping[str, str] = {
    "PickCube-v1": "pick_cube",
    "PushCube-v1": "push_cube",
    "PullCube-v1": "pull_cube",
    "StackCube-v1": "stack_cube",
    "LiftPegUpright-v1": "lift_peg_upright",
    "RollBall-v1": "roll_ball",
    "PokeCube-v1": "poke_cube",
    "PullCubeTool-v1": "pull_cube_tool",
    "PegInsertionSide-v1": "peg_insertion_side",
    "PickPlaceCube-v1": "pick_place_cube",
}
"""The file of each task that has a script."""


def load_task(name: str) -> Task:
    """The script of a task, e.g. "PickCube-v1". Raises ValueError naming the tasks that have one."""
    if name not in TASKS:
        raise ValueError(f"task {name!r} has no scripted teacher: the tasks that have one are {sorted(TASKS)}")
    return importlib.import_module(f"teachers.scripted.{TASKS[name]}").TASK


def make(env_spec: EnvSpec, settings: Mapping[str, Any] | None = None) -> ScriptedTeacher:
    """The scripted teacher of an environment.

    Args:
      env_spec: names the task and the slices of its state.
      settings: any fields of `Corruption` and `Sampling`, e.g. {"noise": 0.3, "samples": 10}.
    Raises:
      ValueError: for a task without a script, an unknown setting or a bad value.
    """
    settings = dict(settings or {})
    groups = (Corruption, Sampling)
    known = {field.name: group for group in groups for field in dataclasses.fields(group)}
    for name in settings:
        choice("setting of a scripted teacher", name, known)
    corruption, sampling = (
        group(**{name: value for name, value in settings.items() if known[name] is group}) for group in groups
    )
    return ScriptedTeacher(env_spec.task, load_task(env_spec.task), env_spec, corruption, sampling)
