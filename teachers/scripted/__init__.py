"""Geometric teachers of adjustable skill, one file per task: toys, labelled as such (`spec.is_scripted`)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.suite import SEPARATOR

if TYPE_CHECKING:
    from teachers.scripted.geometry import Task
    from teachers.scripted.settings import ScriptedSettings
    from teachers.scripted.several import SeveralScripted
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
    check_task(name)
    return importlib.import_module(f"teachers.scripted.{TASKS[name]}").TASK


def check_task(name: str) -> None:
    """Raises ValueError for a task that has no script."""
    if name not in TASKS:
        raise ValueError(f"task {name!r} has no scripted teacher: the tasks that have one are {sorted(TASKS)}")


def make(env_spec: EnvSpec, settings: ScriptedSettings) -> ScriptedTeacher | SeveralScripted:
    """The scripted teacher of an environment, whose spec names the task, or several, and the slices of its state.

    Raises ValueError for a task without a script, and as `ScriptedTeacher`.
    """
    from teachers.scripted.libero_pick_place import task_of as libero_task
    from teachers.scripted.several import SeveralScripted
    from teachers.scripted.teacher import ScriptedTeacher

    names = env_spec.task.split(SEPARATOR)
    words = env_spec.instructions or (env_spec.instruction,)
    tasks = [libero_task(text) for text in words] if env_spec.suite == "libero" else [load_task(name) for name in names]
    teachers = [ScriptedTeacher(name, task, env_spec, settings) for name, task in zip(names, tasks, strict=True)]
    return teachers[0] if len(teachers) == 1 else SeveralScripted(teachers)
