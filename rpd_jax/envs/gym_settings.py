"""What the two Gymnasium faces of the tabletop tasks share: their settings, their spaces, and pictures for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from rpd_jax.config import choice, require
from rpd_jax.envs.base import ArraySpec, Camera
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.env import HUGE, TabletopEnv
from rpd_jax.envs.tabletop.scene import closer
from rpd_jax.envs.tabletop.tasks import load

ENTRIES = ("state", "ee", "proprio", "rgb")
METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": round(1 / (hand.SUBSTEPS * hand.TIMESTEP))}
LIMIT = 2 * HUGE  # of what an observation can hold: joints are less than HUGE, differences of two of them than this


@dataclasses.dataclass(frozen=True)
class GymSettings:
    """Keyword arguments of `gymnasium.make` and `gymnasium.make_vec` for a tabletop task."""

    task: str  # "PickCube-v1", say, or "tabletop:PickCube-v1"
    # One of "state", "ee", "proprio" and "rgb", which gives an array, or several joined by "+": a dictionary.
    observation: str = "state"
    reward: str = "normalized_dense"  # at most 1 a step; "dense", "sparse" (1 at success), "v2", "v3": see `rewards`
    render_mode: str | None = None  # "rgb_array", for `render()`
    render_size: int = 384  # pixels, square, of `render()`
    render_camera: Camera | None = None  # of `render()`; None: one that has hand, objects and goal in view
    image_size: int = 128  # pixels, square, of the observation "rgb"
    camera: Camera | None = None  # of the observation "rgb"; None: the task's own
    end_on_success: bool = True  # whether success terminates an episode
    physics: str = "auto"  # "c", "mjx" (for accelerators) or "auto"
    # k gives episodes k times the steps, each of which moves and turns the hand by a k-th.
    horizon_scale: int = 1
    instruction: str = ""  # the task in words, for `env_spec`; empty: the task's own

    @classmethod
    def of(cls, task: str, settings: Mapping[str, Any]) -> GymSettings:
        """Raises ConfigError for an unknown setting, observation or render mode."""
        for name in settings:
            choice("setting", name, [field.name for field in dataclasses.fields(cls)])
        made = cls(task.removeprefix("tabletop:"), **settings)
        for key in made.keys:
            choice("observation", key, ENTRIES)
        if made.render_mode is not None:
            choice("render_mode", made.render_mode, METADATA["render_modes"])
        require(made.render_size >= 1, "render_size", made.render_size, "at least 1 pixel")
        return made

    @property
    def keys(self) -> tuple[str, ...]:
        """Entries of the observation."""
        return tuple(self.observation.split("+"))

    def observed(self, observation: Mapping[str, Any]) -> Any:
        """What a user gets: copies, which may be changed, as a dictionary where there are several entries."""
        entries = {key: np.array(observation[key]) for key in self.keys}
        return entries if len(entries) > 1 else entries[self.keys[0]]

    def spaces(self, env: TabletopEnv) -> tuple[Space[Any], Space[Any]]:
        """Of one environment's observation and action."""
        found: dict[str, Space[Any]] = {key: _space(env.spec.observation[key]) for key in self.keys}
        low, high = (np.asarray(x, np.float32) for x in (env.spec.action_low, env.spec.action_high))
        return (Dict(found) if len(found) > 1 else found[self.keys[0]]), Box(low, high)


class ShownEnv(TabletopEnv):
    """A tabletop task that can also be drawn for people, by the camera `RENDER`."""

    def __init__(self, settings: GymSettings, max_episode_steps: int | None) -> None:
        """`max_episode_steps`: at a `horizon_scale` of 1; None: the task's own. Raises ConfigError as `TabletopEnv`."""
        super().__init__(
            settings.task,
            engine=settings.physics,
            reward=settings.reward,
            rgb="rgb" in settings.keys,
            image_size=settings.image_size,
            camera=settings.camera,
            max_episode_steps=max_episode_steps,
            end_on_success=settings.end_on_success,
            horizon_scale=settings.horizon_scale,
            instruction=settings.instruction,
            shown=settings.render_camera or settings.camera or closer(load(settings.task).scene.camera),
            shown_size=settings.render_size,
        )


def _space(array: ArraySpec) -> Box:
    low, high = (0, 255) if array.dtype == "uint8" else (-LIMIT, LIMIT)
    return Box(low, high, array.shape, np.dtype(array.dtype).type)
