"""A vector of environments of one tabletop task, as Gymnasium has them, in one compiled program."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rpd_jax.envs.functional import FunctionalVectorEnv
from rpd_jax.envs.gym_settings import METADATA, GymSettings, ShownEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.tabletop.env import RENDER


class TabletopVectorEnv(VectorEnv):
    """B environments of one task, which share one jitted program.

    An episode that ends is reset within the same step (`AutoresetMode.SAME_STEP`): `infos["final_obs"]` [B] then holds
    its true last observation, None where no episode ended, and `infos["final_info"]["success"]` whether it succeeded.
    Otherwise `infos["success"]` says so. Masks have the same names with an underscore in front.

    `env_spec` names the parts of each observation, says the task in words and what the action's seven numbers mean.
    """

    metadata: dict[str, Any] = METADATA | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        *,
        seed: int | None = None,
        max_episode_steps: int | None = None,
        **settings: Any,
    ) -> None:
        """Compiles the task's model.

        Args:
          task: "PickCube-v1", say.
          num_envs: B.
          seed: of the episodes until `reset` is given one; None: a random one.
          max_episode_steps: at a `horizon_scale` of 1; None: the task's own.
          **settings: see `GymSettings`.

        Raises:
          ConfigError: an unknown setting, task, observation, reward, render mode or engine.
        """
        self._settings = GymSettings.of(task, settings)
        env = ShownEnv(self._settings, max_episode_steps)
        self.num_envs, self.render_mode, self.env_spec = num_envs, self._settings.render_mode, env.spec
        self.single_observation_space, self.single_action_space = self._settings.spaces(env)
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
        return self._settings.observed(self._envs.reset(mask)), {}

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Steps with actions [B, 7], clipped to the box; see the class for what comes back at an episode's end."""
        if np.shape(actions) != self.action_space.shape:
            raise ValueError(f"actions: shape must be {self.action_space.shape}, got {np.shape(actions)}")
        result = self._envs.step(actions)
        terminated, truncated, success = (np.array(x) for x in result[3:])
        ended = terminated | truncated
        infos: dict[str, Any] = {"success": success & ~ended, "_success": ~ended}
        if ended.any():
            final = self._settings.observed(result.final_observation)
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                last[i] = {key: x[i] for key, x in final.items()} if isinstance(final, dict) else final[i]
            infos |= {"final_obs": last, "_final_obs": ended.copy()}
            infos |= {"final_info": {"success": success & ended, "_success": ended.copy()}, "_final_info": ended.copy()}
        return self._settings.observed(result.observation), np.array(result.reward), terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture uint8 [H, W, 3] of each environment, or None where `render_mode` is None."""
        if self.render_mode is None:
            return None
        return tuple(np.asarray(self._envs.frames(range(self.num_envs), RENDER)))

    def _seeds(self, seed: int | None) -> list[int]:
        return env_seeds(int(self.np_random.integers(2**31)) if seed is None else seed, self.num_envs)
