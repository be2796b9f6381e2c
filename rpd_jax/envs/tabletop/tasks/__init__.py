"""The tasks, one file each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from rpd_jax.config import choice
from rpd_jax.envs.tabletop.task import Task

TASKS: Mapping[str, str] = {
    "PickCube-v1": "pick_cube",
    "PushCube-v1": "push_cube",
}
"""Task -> its file in this folder."""


def load(name: str) -> Task:
    """The task of that name; raises ConfigError listing them all for another one."""
    choice("env.name: task", name, TASKS)
    return importlib.import_module(f"{__name__}.{TASKS[name]}").TASK
