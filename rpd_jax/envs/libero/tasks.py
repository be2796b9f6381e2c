"""What is known of LIBERO without starting it. Its instructions and objects are told by the simulator processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from rpd_jax.config.validation import ConfigError, choice
from rpd_jax.envs.venv import Venv
from rpd_jax.types import ActionContract

VENV = Venv("LIBERO", ".venv-libero", "libero-env")


class Group(NamedTuple):
    """One of LIBERO's benchmarks."""

    benchmark: str  # LIBERO's own name of it
    tasks: int
    max_episode_steps: int  # of OpenVLA's evaluation (arXiv 2406.09246), which others follow


GROUPS: Mapping[str, Group] = {
    "Spatial": Group("libero_spatial", 10, 220),
    "Object": Group("libero_object", 10, 280),
    "Goal": Group("libero_goal", 10, 300),
    "10": Group("libero_10", 10, 520),
    "90": Group("libero_90", 90, 400),
}

INITIAL_STATES = 50
"""LIBERO's fixed initial states of each task; an episode's reset seed modulo this is the number of its own."""

CONTRACT = ActionContract(
    translation_scale=0.05,
    rotation_scale=0.5,
    rotation_form="axis_angle",
    rotation_sign=1,
    frame="base",
    gripper_closed=1.0,
    gripper_open=-1.0,
)
"""robosuite's operational-space controller in its default ranges; the gripper is the other way round than elsewhere."""

CONTROL_HZ = 20.0

CAMERAS: Mapping[str, str] = {"rgb": "agentview", "rgb_wrist": "robot0_eye_in_hand"}
"""Entry of an observation -> robosuite's camera. Frames are turned by 180 degrees, as OpenVLA, OFT and openpi do."""

PROPRIO = ("eef_pos", "eef_axis_angle", "gripper_qpos")
"""Metres, radians (of the hand's orientation), metres of each finger: what OpenVLA-OFT and openpi read, [8]."""

EE = (("target_pose",), ("goal_pos",))
"""Of the state: the pose of the object that the goal's first predicate is about, and where it is to be."""

SUCCESS = "all goal predicates of the task's BDDL file hold"

_CHANGES = (
    (
        (3, 3, 3),
        "Object's floor may be darker than in published data (from 3.3.5 on: 127, 114, 103, not 177, 169, 161)",
    ),
    ((3, 4, 0), "in task Spatial/5 the bowl slides off the ramekin before the episode begins"),
)


def parse(task: str) -> tuple[Group, int]:
    """The benchmark and the number of a task, "Spatial/3". Raises ConfigError for one that LIBERO has not."""
    name, _, number = task.partition("/")
    choice("env.name: libero group", name, GROUPS)
    group = GROUPS[name]
    if not (number.isdecimal() and int(number) < group.tasks and str(int(number)) == number):
        raise ConfigError(
            f"env.name='libero:{task}' cannot work: need libero:{name}/0 to libero:{name}/{group.tasks - 1}, or "
            f"libero:{name} for all of them where several are evaluated"
        )
    return group, int(number)


def names(group: str) -> tuple[str, ...]:
    """All tasks of one of `GROUPS`."""
    return tuple(f"{group}/{number}" for number in range(GROUPS[group].tasks))


def known_faults(mujoco: str) -> list[str]:
    """What this version of MuJoCo changes in LIBERO's scenes: measured against 2.3.7 and 3.3.2, which agree."""
    version = tuple(int(part) for part in re.findall(r"\d+", mujoco)[:3])
    return [fault for first, fault in _CHANGES if version >= first]
