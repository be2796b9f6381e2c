"""The tabletop tasks as Gymnasium vector environments, for use without the rest of the library.

Importing this module registers them:

    import gymnasium
    import rpd_jax.envs.gym

    envs = gymnasium.make_vec("rpd_jax/PickCube-v1", num_envs=16, observation="state+rgb")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rpd_jax.config import choice
from rpd_jax.envs.base import ArraySpec, Camera
from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.tabletop.tasks import TASKS

NAMESPACE = "rpd_jax"
ENTRIES = ("state", "ee", "proprio", "rgb")


class TabletopVectorEnv(VectorEnv):
    """B environments of one task, which share one jitted program.

    An episode that ends is reset within the same step (`AutoresetMode.SAME_STEP`): `infos["final_obs"]` [B] then holds
    its true last observation, None where no episode ended, and `infos["final_info"]["success"]` whether it succeeded.
    Otherwise `infos["success"]` says so. Masks have the same names with an underscore in front.

    `env_spec` names the parts of each observation, says the task in words and what the action's seven numbers mean.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (Gymnasium's way)
        "render_modes": ["rgb_array"],
        "render_fps": round(1 / (hand.SUBSTEPS * hand.TIMESTEP)),
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        *,
        observation: str = "state",
        reward: str = "normalized_dense",
        seed: int | None = None,
        render_mode: str | None = None,
        image_size: int = 128,
        camera: Camera | None = None,
        max_episode_steps: int | None = None,
        end_on_success: bool = True,
        physics: str = "auto",
        horizon_scale: int = 1,
        instruction: str = "",
    ) -> None:
        """Compiles the task's model.

        Args:
          task: "PickCube-v1", say, or "tabletop:PickCube-v1".
          num_envs: B.
          observation: one of "state", "ee", "proprio" and "rgb", which gives an array, or several joined by "+", which
            give a dictionary.
          reward: "normalized_dense" (at most 1 a step), "dense", "sparse" (1 at success), "v2" or "v3": see `rewards`.
          seed: of the episodes until `reset` is given one; None: a random one.
          render_mode: "rgb_array", or None.
          image_size: pixels, square, of "rgb" and `render`.
          camera: None: the task's own.
          max_episode_steps: None: the task's own.
          end_on_success: whether success terminates an episode.
          physics: "c", "mjx" (for accelerators) or "auto".
          horizon_scale: k gives episodes k times the steps, each of which moves and turns the hand by a k-th.
          instruction: the task in words, for `env_spec`; empty: the task's own.

        Raises:
          ConfigError: an unknown task, observation, reward, render mode or engine.
        """
        self._keys = tuple(observation.split("+"))
        for key in self._keys:
            choice("observation", key, ENTRIES)
        if render_mode is not None:
            choice("render_mode", render_mode, self.metadata["render_modes"])
        env = TabletopEnv(
            task.removeprefix("tabletop:"),
            engine=physics,
            reward=reward,
            rgb="rgb" in self._keys,
            image_size=image_size,
            camera=camera,
            max_episode_steps=max_episode_steps,
            end_on_success=end_on_success,
            horizon_scale=horizon_scale,
            instruction=instruction,
        )
        self.num_envs, self.render_mode, self.env_spec = num_envs, render_mode, env.spec
        spaces: dict[str, Space] = {key: _space(env.spec.observation[key]) for key in self._keys}
        self.single_observation_space: Space = Dict(spaces) if len(spaces) > 1 else spaces[self._keys[0]]
        low, high = (np.asarray(x, np.float32) for x in (env.spec.action_low, env.spec.action_high))
        self.single_action_space: Space = Box(low, high)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        super().reset(seed=seed)
        self._envs = FunctionalVectorEnv(env, num_envs, self._seeds(seed))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins new episodes.

        Args:
          seed: episodes are a function of it from now on, environment by environment, whatever B is; None: the next
            episodes of the seed given before.
          options: {"reset_mask": bool [B]} begins anew only in the environments named (and takes no seed).

        Returns:
          observations and an empty dictionary.
        """
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask")
        if seed is not None and mask is not None:
            raise ValueError("reset_mask goes with seed=None: a seed is for all environments")
        if mask is not None and (np.shape(mask) != (self.num_envs,) or np.asarray(mask).dtype != bool):
            raise ValueError(f"reset_mask: need {self.num_envs} booleans, got {mask!r}")
        if seed is not None:
            self._envs.reseed(self._seeds(seed))
        return self._observation(self._envs.reset(mask)), {}

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps with actions [B, 7], clipped to the box; see the class for what comes back at an episode's end."""
        if np.shape(actions) != self.action_space.shape:
            raise ValueError(f"actions: shape must be {self.action_space.shape}, got {np.shape(actions)}")
        result = self._envs.step(actions)
        terminated, truncated, success = (np.array(x) for x in result[3:])
        ended = terminated | truncated
        infos: dict[str, Any] = {"success": success & ~ended, "_success": ~ended}
        if ended.any():
            final = self._observation(result.final_observation)
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                last[i] = {key: x[i] for key, x in final.items()} if isinstance(final, dict) else final[i]
            infos |= {"final_obs": last, "_final_obs": ended.copy()}
            infos |= {"final_info": {"success": success & ended, "_success": ended.copy()}, "_final_info": ended.copy()}
        return self._observation(result.observation), np.array(result.reward), terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture uint8 [H, W, 3] of each environment, or None where `render_mode` is None."""
        return None if self.render_mode is None else tuple(np.asarray(self._envs.frames(range(self.num_envs))))

    def _seeds(self, seed: int | None) -> list[int]:
        return env_seeds(int(self.np_random.integers(2**31)) if seed is None else seed, self.num_envs)

    def _observation(self, observation: Mapping[str, Any]) -> Any:
        entries = {key: np.array(observation[key]) for key in self._keys}  # copies, which the caller may change
        return entries if len(entries) > 1 else entries[self._keys[0]]


def make_vec(name: str, num_envs: int = 1, **settings: Any) -> TabletopVectorEnv:
    """`num_envs` environments of a task; the settings are those of `TabletopVectorEnv`."""
    return TabletopVectorEnv(name, num_envs, **settings)


def _space(array: ArraySpec) -> Box:
    low, high = (0, 255) if array.dtype == "uint8" else (-np.inf, np.inf)
    return Box(low, high, array.shape, np.dtype(array.dtype).type)


def register(tasks: Sequence[str]) -> None:
    """Makes the tasks known to `gymnasium.make_vec` as "rpd_jax/<task>"."""
    for task in tasks:
        name = f"{NAMESPACE}/{task}"
        if name not in gymnasium.registry:
            gymnasium.register(name, vector_entry_point=f"{__name__}:TabletopVectorEnv", kwargs={"task": task})


register(tuple(TASKS))
