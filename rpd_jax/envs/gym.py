"""The tabletop tasks in Gymnasium, for use without the rest of the library.

Importing this module registers them; in front of a task's name, Gymnasium imports it itself:

    import gymnasium

    env = gymnasium.make("rpd_jax.envs.gym:rpd_jax/PickCube-v1", observation="ee", render_mode="rgb_array")
    envs = gymnasium.make_vec("rpd_jax/PickCube-v1", num_envs=16, observation="state+rgb")

Since 1.0 Gymnasium reads no entry points of installed packages, so that one of the two it must be. `GymSettings` lists
the keyword arguments. `make_vec` gives one compiled program for all environments; with `vectorization_mode="async"`
its processes must be started by `vector_kwargs={"context": "spawn"}`, since a forked JAX can hang.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.envs.functional import VectorState, draw, vector_advance, vector_reset
from rpd_jax.envs.gym_settings import METADATA, GymSettings, ShownEnv
from rpd_jax.envs.gym_vector import TabletopVectorEnv
from rpd_jax.envs.registry import env_seeds
from rpd_jax.envs.tabletop.env import RENDER
from rpd_jax.envs.tabletop.tasks import TASKS, load

NAMESPACE = "rpd_jax"
UNLIMITED = 10**6  # steps: an episode is as long as Gymnasium's TimeLimit says


class TabletopSingleEnv(gymnasium.Env[Any, np.ndarray]):
    """One environment of a task; its episodes are those of the first of a vector of the same seed.

    `info["success"]` says whether the state counts as success. Time limits are Gymnasium's: `gymnasium.make` wraps the
    environment in a `TimeLimit` of the task's own length, or of its argument `max_episode_steps` (which a
    `horizon_scale` above 1 needs).
    """

    metadata: dict[str, Any] = dict(METADATA)  # noqa: RUF012  (Gymnasium's way)

    def __init__(self, task: str, **settings: Any) -> None:
        """Compiles the task's model, once for equal settings.

        Args:
          task: "PickCube-v1", say.
          **settings: see `GymSettings`.

        Raises:
          ConfigError: an unknown setting, task, observation, reward, render mode or engine.
        """
        self._settings = GymSettings.of(task, settings)
        self._program = _program(self._settings)
        env = self._program.env
        self.render_mode = self._settings.render_mode
        steps = self._settings.horizon_scale * env.task.max_episode_steps
        self.env_spec = dataclasses.replace(env.spec, max_episode_steps=steps)
        self.observation_space, self.action_space = self._settings.spaces(env)
        self._base_seed: int | None = None
        self._episode = 0
        self._state: VectorState | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode.

        Args:
          seed: episodes are a function of it from now on; None: the next episode of the seed given before.
          options: none are known.

        Returns:
          an observation and an empty dictionary.
        """
        super().reset(seed=seed)
        if seed is not None or self._base_seed is None:
            first = int(self.np_random.integers(2**31)) if seed is None else seed
            (self._base_seed,), self._episode = env_seeds(first, 1), 0
        self._state = self._program.reset(jnp.array([self._base_seed], jnp.uint32), jnp.array([self._episode]))
        self._episode += 1
        return self._observed(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Steps with an action [7], clipped to the box.

        Raises:
          ValueError: the action has another shape.
          gymnasium.error.ResetNeeded: before the first `reset`.
        """
        if np.shape(action) != self.action_space.shape:
            raise ValueError(f"action: shape must be {self.action_space.shape}, got {np.shape(action)}")
        if self._state is None:
            raise gymnasium.error.ResetNeeded("step was called before reset")
        self._state, result = self._program.step(self._state, jnp.asarray(action, jnp.float32)[None])
        reward, terminated, truncated, success = (np.asarray(x) for x in result[2:])
        info = {"success": bool(success[0])}
        return self._observed(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture uint8 [H, W, 3], or None where `render_mode` is None."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise gymnasium.error.ResetNeeded("render was called before reset")
        return np.array(self._program.draw(self._state.env_state)[0])

    def _observed(self) -> Any:
        assert self._state is not None
        return self._settings.observed({key: x[0] for key, x in self._state.observation.items()})


class _Program(NamedTuple):
    """Jitted functions of one environment, with an axis of length 1 in front."""

    env: ShownEnv
    reset: Callable[..., VectorState]
    step: Callable[..., Any]
    draw: Callable[..., Any]


@functools.lru_cache(maxsize=16)  # a SyncVectorEnv of many would compile the same for each
def _program(settings: GymSettings) -> _Program:
    env = ShownEnv(settings, UNLIMITED)
    return _Program(
        env,
        jax.jit(functools.partial(vector_reset, env)),
        jax.jit(functools.partial(vector_advance, env)),
        jax.jit(lambda state: draw(env, state, jnp.arange(1), RENDER)),
    )


def make_vec(name: str, num_envs: int = 1, **settings: Any) -> TabletopVectorEnv:
    """`num_envs` environments of a task; the settings are those of `TabletopVectorEnv`."""
    return TabletopVectorEnv(name, num_envs, **settings)


def register(tasks: Sequence[str]) -> None:
    """Makes the tasks known to Gymnasium as "rpd_jax/<task>"."""
    for task in tasks:
        name = f"{NAMESPACE}/{task}"
        if name not in gymnasium.registry:
            gymnasium.register(
                name,
                entry_point=f"{__name__}:{TabletopSingleEnv.__name__}",
                vector_entry_point=f"{__name__}:{TabletopVectorEnv.__name__}",
                max_episode_steps=load(task).max_episode_steps,
                kwargs={"task": task},
            )


register(tuple(TASKS))
