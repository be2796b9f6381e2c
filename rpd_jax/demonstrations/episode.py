"""One recorded episode, and what holds for all episodes of a set."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, NamedTuple

import numpy as np

from rpd_jax.demonstrations.checks import first_not_finite, typed
from rpd_jax.envs.base import Camera
from rpd_jax.types import ActionContract

CONTROL_HZ = 20.0  # steps per second, where a set does not say
FIRST_CAMERA = "base_camera"  # what the camera of "rgb" is called in files, as in ManiSkill's


def camera_name(entry: str) -> str:
    """What the camera of an observation's entry is called in files: "rgb" -> "base_camera", "rgb_wrist" -> "wrist"."""
    return FIRST_CAMERA if entry == "rgb" else entry.removeprefix("rgb_")


def camera_entry(name: str) -> str:
    """Inverse of `camera_name`."""
    return "rgb" if name == FIRST_CAMERA else f"rgb_{name}"


def is_frames(values: np.ndarray) -> bool:
    """Whether an entry of an episode's observation is a camera's: uint8 [T + 1, H, W, 3]."""
    return values.dtype == np.uint8 and values.ndim == 4


class Episode(NamedTuple):
    """T steps. Entries that a file of somebody else's may lack are None there."""

    observation: dict[str, np.ndarray]  # [T + 1, ...]: "state", "proprio", "ee", "rgb", "rgb_..." (uint8)
    action: np.ndarray  # [T, A] float32, within the box; where it was perturbed, the policy's own
    reward: np.ndarray | None  # [T] float32
    terminated: np.ndarray  # [T] bool
    truncated: np.ndarray  # [T] bool
    success: np.ndarray | None  # [T] bool: the state after the step counts as success
    seed: int | None  # what the environment was reset with
    instruction: str
    env_name: str  # "suite:task"
    env_states: dict[str, np.ndarray] | None = None  # by path: "actors/cube" [T + 1, 13]; None: not told

    @property
    def length(self) -> int:
        """T."""
        return len(self.action)

    @property
    def not_finite(self) -> str:
        """Where the first NaN or infinity is, such as "rewards[3]"; empty if there is none. Sensors may have some."""
        seen = {f"obs/{key}": x for key, x in self.observation.items() if not key.startswith("sensor_data/")}
        return first_not_finite({"actions": self.action, "rewards": self.reward, **seen})

    @property
    def succeeded(self) -> bool:
        """Whether the last state counts as success; False where nothing was recorded."""
        return self.success is not None and bool(self.success[-1])


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What holds for all episodes of a set; two sets of equal info, recorded anew, are equal.

    Attributes:
      env_name: "suite:task".
      env_settings: how it was simulated, see `config.EnvConfig`.
      instruction: the task in words.
      max_episode_steps: the time limit.
      contract: what the actions mean; None where they are no end-effector deltas.
      layout: names of the slices of observations, see `envs.base.EnvSpec`.
      image_size: pixels of frames, square; None without.
      teacher: who acted.
      teacher_settings: how, see `config.TeacherConfig`; among it after how many steps it planned anew (`replan_every`).
      is_scripted: the teacher is a script that sees the simulator's state: a toy.
      seed: all episodes follow from it.
      num_envs: environments side by side, which is the size of a round.
      perturb: standard deviation of the Gaussian noise added to the actions that were executed, in action units and
        without the gripper; the actions recorded are free of it (DART, arXiv 1703.09327).
      hold_steps: steps recorded after the first success.
      successful_only: whether only episodes were kept whose last state counts as success.
      camera: of "rgb"; None where it is not known, as in older files.
      cameras: entries of observations that hold frames; None in older files, which have "rgb" at most.
      robot: as data sets name it; empty where it is not known.
      control_hz: steps a second; None where it is not known.
    """

    env_name: str
    env_settings: dict[str, Any]
    instruction: str
    max_episode_steps: int
    contract: ActionContract | None
    layout: dict[str, Any]
    image_size: int | None
    teacher: str
    teacher_settings: dict[str, Any]
    is_scripted: bool
    seed: int
    num_envs: int
    perturb: float
    hold_steps: int
    successful_only: bool
    camera: Camera | None = None
    cameras: tuple[str, ...] | None = None
    robot: str = ""
    control_hz: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: lists for tuples."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Any) -> DatasetInfo:
        """Inverse of `to_dict`; raises ConfigError for fields that are missing, unknown or of another type."""
        return typed(cls, values, "info")
