"""Requested ManiSkill settings, checked, and what its workers report in reply. Imports no simulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rpd_jax import runtime
from rpd_jax.config.validation import choice, require
from rpd_jax.envs import rewards
from rpd_jax.envs.base import ArraySpec, Camera, EnvSpec, divided
from rpd_jax.envs.maniskill import tasks
from rpd_jax.envs.process_arrays import layout
from rpd_jax.ipc.messages import RemoteError
from rpd_jax.types import Array

_PROPRIO = ("qpos", "qvel", "tcp_pose")  # the slices of the state that a real robot knows about itself


@dataclasses.dataclass
class Settings:
    """The arguments of `ManiSkillVectorEnv`, which describes them."""

    task: str
    num_envs: int
    seeds: Sequence[int]
    control_mode: str = "pd_ee_delta_pose"
    reward_mode: str = "normalized_dense"
    observations: Sequence[str] = ("state",)
    image_size: int = 256
    max_episode_steps: int | None = None
    end_on_success: bool = True
    processes: int | None = None
    deadline_s: float = 60.0
    horizon_scale: int = 1
    instruction: str = ""
    camera: Camera | None = None
    random_ages: bool = False

    def __post_init__(self) -> None:
        """Fills in what was left open. Raises ValueError for what cannot be."""
        require(isinstance(self.task, str) and bool(self.task), "task", self.task, "the name of a task")
        if self.task in tasks.TASKS:  # others may have another robot
            choice("control_mode", self.control_mode, tasks.CONTROL_MODES)
        choice("reward_mode", self.reward_mode, tasks.REWARD_MODES)
        rewards.check(self.task, self.reward_mode)
        if isinstance(self.observations, str):
            raise ValueError(f"observations: need a sequence of names, got the string {self.observations!r}")
        for name in self.observations:
            choice("observations", name, tasks.OBSERVATIONS)
        if self.max_episode_steps is None and self.task in tasks.TASKS:
            self.max_episode_steps = tasks.TASKS[self.task].max_episode_steps
        for field in ("num_envs", "image_size", "horizon_scale"):
            _check_positive(field, getattr(self, field))
        if self.max_episode_steps is not None:  # a worker asks ManiSkill
            _check_positive("max_episode_steps", self.max_episode_steps)
        if self.horizon_scale > 1 and tasks.contract(self.control_mode) is None:
            raise ValueError(
                f"horizon_scale: must be 1 in control mode {self.control_mode!r}, got {self.horizon_scale}: "
                "only end-effector deltas (pd_ee_delta_pose) can be divided"
            )
        self.instruction = self.instruction or tasks.instruction(self.task)
        if self.processes is None:
            self.processes = runtime.available_cores()
        _check_positive("processes", self.processes)
        self.processes = min(self.processes, self.num_envs)
        if len(self.seeds) != self.num_envs:
            raise ValueError(f"seeds: need one per environment ({self.num_envs}), got {len(self.seeds)}")
        self.seeds = [int(seed) for seed in self.seeds]
        if min(self.seeds) < 0:
            raise ValueError(f"seeds: must not be negative, got {min(self.seeds)}")
        if not self.deadline_s > 0:
            raise ValueError(f"deadline_s: must be positive, got {self.deadline_s}")

    @property
    def draws(self) -> bool:
        """Whether every state is drawn."""
        return "rgb" in self.observations

    def request(self, rows: slice) -> dict[str, Any]:
        """The fields of the "make" request to the worker that has these rows."""
        return {
            "task": self.task,
            "control_mode": self.control_mode,
            "reward_mode": self.reward_mode,
            "max_episode_steps": self.max_episode_steps,
            "horizon_scale": self.horizon_scale,
            "end_on_success": bool(self.end_on_success),
            "image_size": self.image_size,
            "camera": None if self.camera is None else dataclasses.asdict(self.camera),
            "drawn": ["rgb"] if self.draws else [],
            "first": rows.start,
            "count": rows.stop - rows.start,
        }


def env_spec(settings: Settings, made: Mapping[str, Any]) -> EnvSpec:
    """The specification, from the reply to a "make" request."""
    state = layout(made["state"])
    state_size = max(stop for _, stop in state.values())
    proprio: dict[str, tuple[int, int]] = {}
    end = 0
    for name in _PROPRIO:
        if name in state:  # all are in the tasks of the table
            first, stop = state[name]
            proprio[name] = (end, end := end + stop - first)
    contract = tasks.contract(settings.control_mode) if made["robot"] in tasks.PANDAS else None
    image = (settings.image_size, settings.image_size, 3)
    observation = {"state": ArraySpec((state_size,), "float32")}
    if proprio:
        observation["proprio"] = ArraySpec((end,), "float32")
    if settings.draws:
        observation["rgb"] = ArraySpec(image, "uint8")
    return EnvSpec(
        name=f"maniskill:{settings.task}",
        instruction=settings.instruction,
        max_episode_steps=made["max_episode_steps"],
        action_dim=len(made["action_low"]),
        action_low=tuple(made["action_low"]),
        action_high=tuple(made["action_high"]),
        observation=observation,
        layout={"state": state} | ({"proprio": proprio} if proprio else {}),
        contract=divided(contract, settings.horizon_scale),
        frame_shape=image,
        horizon_scale=settings.horizon_scale,
        robot=made["robot"],
    )


def divide_motion(action: np.ndarray, horizon_scale: int) -> None:
    """Turns actions [B, 7] of the box into what ManiSkill's `pd_ee_delta_pose` is told at that horizon scale, in place.

    The controller limits the rotation's norm to 1; that is done here, since the divided rotation never gets there.
    """
    action[...] = divided_motion(action, horizon_scale)


def divided_motion(action: Array, horizon_scale: int) -> Array:
    """What `divide_motion` writes, as another array, numpy's or JAX's."""
    if horizon_scale == 1:
        return action
    xp = action.__array_namespace__()
    turn = action[:, 3:6] / xp.maximum(xp.linalg.norm(action[:, 3:6], axis=1, keepdims=True), 1.0)
    return xp.concat([action[:, :3] / horizon_scale, turn / horizon_scale, action[:, 6:]], axis=1)


def start_advice(error: Exception, log: str) -> str:
    """What to do about a worker that does not start, in one line; "" where that is not known. `log`: its output."""
    if isinstance(error, RemoteError) and error.type_name in ("ModuleNotFoundError", "ImportError"):
        return (
            f"ManiSkill cannot be imported ({error.message}): pip install 'rpd_jax[maniskill]', "
            "then check with rpd-jax doctor"
        )
    text = f"{error}\n{log}"
    if "vk::" in text or "support Vulkan" in text or "supported physical device" in text:
        return (
            "ManiSkill needs a Vulkan device and found none; Mesa's software one, lavapipe 24.3 or newer, "
            "will do: rpd-jax doctor says what to install"
        )
    return ""


def _check_positive(field: str, value: object) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{field}: must be a positive integer, got {value!r}")
