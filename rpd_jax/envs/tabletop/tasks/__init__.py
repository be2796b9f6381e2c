"""The tasks, one file each: a file in this folder that defines `TASK` is a task, and needs no entry elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from rpd_jax.config import choice
from rpd_jax.envs.tabletop.task import Task

TASKS: Mapping[str, str] = {
    "".join(word.capitalize() for word in file.name.split("_")) + "-v1": file.name
    for file in pkgutil.iter_modules(__path__)
    if not file.name.startswith("_")
}
"""Task -> its file in this folder, which gives it its name: pick_cube.py is PickCube-v1, _slide.py is none."""


def load(name: str) -> Task:
    """The task of that name; raises ConfigError listing them all for another one."""
    choice("env.name: task", name, TASKS)
    return importlib.import_module(f"{__name__}.{TASKS[name]}").TASK
