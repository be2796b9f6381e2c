"""Environments as pure functions with gymnax's signatures, for algorithms written in JAX elsewhere.

    import jax
    from rpd_jax.envs.jax_env import make

    env, params = make("PickCube-v1")
    obs, state = env.reset(key, params)
    obs, state, reward, done, info = jax.jit(env.step)(key, state, action, params)

One environment; the caller vmaps over keys, states and actions. The five values are those of gymnax 0.0.9
(github.com/RobertTLange/gymnax), which PureJaxRL and its like expect; since 1.0 gymnax has "terminated" and
"truncated" in place of `done`, which are in `info` here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config import choice
from rpd_jax.envs.base import ArraySpec, FunctionalEnv, StepResult
from rpd_jax.envs.functional import VectorState, vector_advance, vector_reset, vector_restart
from rpd_jax.types import Array


class EnvParams(NamedTuple):
    """What may differ from one call to the next."""

    max_steps_in_episode: Array | int  # where episodes are truncated; no more than the environment's own limit


class Box(NamedTuple):
    """A space of arrays."""

    low: np.ndarray  # of `shape`
    high: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype

    def sample(self, key: Array) -> Array:
        """A random array, uniform in the box; ValueError where that is unbounded."""
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            raise ValueError("an unbounded box cannot be sampled")
        return jax.random.uniform(key, self.shape, minval=self.low, maxval=self.high).astype(self.dtype)

    def contains(self, x: Array) -> Array:
        """Whether an array [*shape] lies in the box, a boolean scalar."""
        return jnp.all((x >= self.low) & (x <= self.high))


class JaxEnv:
    """A `FunctionalEnv` with gymnax's `reset`, `step` and spaces.

    States are `VectorState`s without the axis of environments: `state.age` is the step of the episode. What is not
    finite ends an episode as in `functional.vector_step`. Observations are an array, or a dictionary of several.
    """

    def __init__(self, env: FunctionalEnv, observation: str = "state") -> None:
        """`observation`: an entry of the environment's, or several joined by "+". Raises ConfigError for others."""
        self.env, self.keys = env, tuple(observation.split("+"))
        for key in self.keys:
            choice("observation", key, tuple(env.spec.observation))

    @property
    def name(self) -> str:
        """ "suite:task"."""
        return self.env.spec.name

    @property
    def num_actions(self) -> int:
        """Numbers of an action, A."""
        return self.env.spec.action_dim

    @property
    def default_params(self) -> EnvParams:
        return EnvParams(self.env.spec.max_episode_steps)

    def reset(self, key: Array, params: EnvParams | None = None) -> tuple[Any, VectorState]:
        """Begins an episode. Returns (observation, state)."""
        state = _single(vector_reset(self.env, _seed(key), jnp.zeros(1, jnp.int32)))
        return self._seen(state.observation), state

    def step(
        self, key: Array, state: VectorState, action: Array, params: EnvParams | None = None
    ) -> tuple[Any, VectorState, Array, Array, dict[str, Any]]:
        """One control step with an action [A], clipped to the box; an episode that ends begins anew by `key`.

        Returns:
          observation (after an end: the first of the next episode), state, reward, done, and info with "terminated",
          "truncated", "success", "discount" (0 where terminated), and "final_observation", the true next one.
        """
        running, result = self._advance(state, action, params)
        done = (result.terminated | result.truncated)[0]
        restarted = vector_restart(self.env, running._replace(base_seed=_seed(key)), done[None])
        after = _single(restarted)
        return self._seen(after.observation), after, result.reward[0], done, self._info(result)

    def step_env(
        self, key: Array, state: VectorState, action: Array, params: EnvParams | None = None
    ) -> tuple[Any, VectorState, Array, Array, dict[str, Any]]:
        """As `step`, but an episode that ends is left there; nothing is random, so `key` is not used."""
        running, result = self._advance(state, action, params)
        after = _single(running)
        done = (result.terminated | result.truncated)[0]
        return self._seen(after.observation), after, result.reward[0], done, self._info(result)

    def observation_space(self, params: EnvParams | None = None) -> Any:
        """A `Box`, or a dictionary of them where observations are one."""
        found = {key: _box(self.env.spec.observation[key]) for key in self.keys}
        return found if len(found) > 1 else found[self.keys[0]]

    def action_space(self, params: EnvParams | None = None) -> Box:
        low, high = (np.asarray(x, np.float32) for x in (self.env.spec.action_low, self.env.spec.action_high))
        return Box(low, high, low.shape, low.dtype)

    def render(self, state: VectorState) -> Array:
        """A picture uint8 [H, W, 3]; AttributeError where the environment draws none."""
        return self.env.render(state.env_state)  # type: ignore[attr-defined]

    def _advance(self, state: VectorState, action: Array, params: EnvParams | None) -> tuple[VectorState, StepResult]:
        batched = jax.tree.map(lambda x: x[None], state)
        return vector_advance(self.env, batched, action[None], None if params is None else params.max_steps_in_episode)

    def _info(self, result: StepResult) -> dict[str, Any]:
        return {
            "terminated": result.terminated[0],
            "truncated": result.truncated[0],
            "success": result.success[0],
            "discount": 1.0 - result.terminated[0].astype(jnp.float32),
            "final_observation": self._seen(_single(result.final_observation)),
        }

    def _seen(self, observation: dict[str, Array]) -> Any:
        found = {key: observation[key] for key in self.keys}
        return found if len(found) > 1 else found[self.keys[0]]


def make(task: str, observation: str = "state", **settings: Any) -> tuple[JaxEnv, EnvParams]:
    """A tabletop task and its default parameters.

    Args:
      task: "PickCube-v1", say.
      observation: "state", "ee", "proprio", "rgb", or several joined by "+".
      **settings: those of `TabletopEnv`.

    Raises:
      ConfigError: an unknown task or observation, or a setting that cannot be.
    """
    from rpd_jax.envs.tabletop.env import TabletopEnv  # here, since it needs mujoco

    env = TabletopEnv(task.removeprefix("tabletop:"), rgb="rgb" in observation.split("+"), **settings)
    made = JaxEnv(env, observation)
    return made, made.default_params


def _seed(key: Array) -> Array:
    """A base seed [1] from a key."""
    return jax.random.bits(key, (1,), jnp.uint32)


def _single(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def _box(array: ArraySpec) -> Box:
    low, high = (0, 255) if array.dtype == "uint8" else (-np.inf, np.inf)
    dtype = np.dtype(array.dtype)
    return Box(np.full(array.shape, low, dtype), np.full(array.shape, high, dtype), array.shape, dtype)
