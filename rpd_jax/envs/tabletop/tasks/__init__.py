"""The tasks, one file each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from rpd_jax.config import choice
from rpd_jax.envs.tabletop.task import Task

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
"""Task -> its file in this folder."""


def load(name: str) -> Task:
    """The task of that name; raises ConfigError listing them all for another one."""
    choice("env.name: task", name, TASKS)
    return importlib.import_module(f"{__name__}.{TASKS[name]}").TASK
