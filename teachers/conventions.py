"""Action contracts by name, and how robots' bases stand; `rpd_jax.actions.contracts` converts between contracts."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

from rpd_jax.envs.libero import tasks as libero_tasks
from rpd_jax.envs.maniskill import tasks as maniskill_tasks
from rpd_jax.types import ActionContract

CONTRACT_FILE = "action_contract.json"
"""Beside a fine-tuned model: what the actions of its data mean."""

BASE_YAW: Mapping[str, float] = {"RollBall-v1": -math.pi / 2}
"""Turn about z of the robot's base in the world, radians, by task, where it is not zero (in any suite)."""

LAG: Mapping[str, int] = {"libero": 6}
"""How many steps an arm needs to come to rest, by suite, where it is more than one."""

_EE_DELTA = maniskill_tasks.contract("pd_ee_delta_pose")
assert _EE_DELTA is not None
MANISKILL_EE: ActionContract = _EE_DELTA
"""ManiSkill's "pd_ee_delta_pose": 0.1 m, 0.1 rad per unit, rotation inverted, gripper -1 closed, 1 open."""

OXE_METRIC = ActionContract(
    translation_scale=1.0,
    rotation_scale=1.0,
    rotation_form="axis_angle",
    rotation_sign=1,
    frame="base",
    gripper_closed=0.0,
    gripper_open=1.0,
    low=None,
    high=None,
)
"""Open X-Embodiment data in the manner of BridgeData: metres and radians in the base's axes, gripper 1 open.

As a model's output is normalised, add its `statistics` with `dataclasses.replace`; for data in tenths replace
the two scales by 0.1.
"""

LIBERO_OSC = libero_tasks.CONTRACT
"""LIBERO's operational-space controller (robosuite's default ranges); its gripper is the other way round."""

JUELG_OCTO = dataclasses.replace(MANISKILL_EE, gripper_closed=0.0, gripper_open=1.0, low=None, high=None)
"""The RPD authors' fine-tuned Octo and OpenVLA, de-normalised.

Their data are demonstrations replayed in ManiSkill, so their rotation is already the environment's inverted
one and must not be flipped; their gripper is in [0, 1], 1 open.
"""

CONTRACTS: Mapping[str, ActionContract] = {
    "juelg_octo": JUELG_OCTO,
    "libero_osc": LIBERO_OSC,
    "maniskill": MANISKILL_EE,
    "oxe_metric": OXE_METRIC,
}
"""Contracts that a model's data can be said to have."""


ENVIRONMENT = "environment"
"""In place of a contract's name: a model's actions are those of the environment, which are not converted.

For actions that are no end-effector deltas, such as joint positions of two arms.
"""


def contract_of(directory: Path | None, name: str) -> ActionContract | None:
    """The contract of this name, or if it is empty the one that a fine-tuned model's directory brings.

    None for `ENVIRONMENT`. Raises ValueError if the name is unknown, or the file is missing or cannot be read.
    """
    if name == ENVIRONMENT:
        return None
    if name:
        if name not in CONTRACTS:
            raise ValueError(f"contract={name!r} is unknown: choose from {sorted([*CONTRACTS, ENVIRONMENT])}")
        return CONTRACTS[name]
    path = directory / CONTRACT_FILE if directory else None
    if path is None or not path.exists():
        raise ValueError(
            f"the checkpoint has no {CONTRACT_FILE}: say what its actions mean, contract = one of {sorted(CONTRACTS)}"
        )
    try:
        return ActionContract(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no action contract: {error}") from error
