"""Vectors of functional (JAX) environments: pure reset and step with automatic resets, and their host face."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.envs.base import FunctionalEnv, StepResult
from rpd_jax.types import Array, Observation

DRAWN_AT_ONCE = 16  # environments, for the sake of memory


class VectorState(NamedTuple):
    """B environments between two steps."""

    env_state: Any  # leaves [B, ...]
    observation: Observation  # [B, ...]
    base_seed: chex.Array  # [B] uint32
    episode: chex.Array  # [B] int32: episodes begun


def vector_reset(env: FunctionalEnv, base_seed: chex.Array, episode: chex.Array) -> VectorState:
    """Begins episode number `episode` [B] of environments whose keys follow from `base_seed` [B]."""

    def reset(seed: chex.Array, number: chex.Array) -> tuple[Any, Observation]:
        return env.reset(jax.random.fold_in(jax.random.key(seed), number))

    env_state, observation = jax.vmap(reset)(base_seed, episode)
    return VectorState(env_state, observation, base_seed, episode + 1)


def vector_restart(env: FunctionalEnv, state: VectorState, which: Array) -> VectorState:
    """Begins the next episode of the environments that `which` [B] names; the others stay as they are."""
    fresh = vector_reset(env, state.base_seed, state.episode)
    return jax.tree.map(lambda a, b: jnp.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b), fresh, state)


def vector_step(env: FunctionalEnv, state: VectorState, action: Array) -> tuple[VectorState, StepResult]:
    """Steps B environments with actions [B, A]; those whose episode ends begin their next one."""
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)
    env_state, final, reward, terminated, truncated, success = jax.vmap(
        lambda s, a: env.step(s, jnp.clip(a, low, high))
    )(state.env_state, action)
    ended = jnp.logical_or(terminated, truncated)
    running = VectorState(env_state, final, state.base_seed, state.episode)
    restart = functools.partial(vector_restart, env)
    state = jax.lax.cond(jnp.any(ended), restart, lambda running, ended: running, running, ended)
    return state, StepResult(state.observation, final, reward, terminated, truncated, success)


def play(
    env: FunctionalEnv, act: Callable[[Observation, Array], Array], seeds: Array, steps: int, key: Array
) -> StepResult:
    """What `steps` steps of a policy give, leaves [steps, B, ...], from the first episodes of base seeds [B].

    `act` maps observations [B, ...] and a key to actions [B, A]; jit the call.
    """

    def step(state: VectorState, key: Array) -> tuple[VectorState, StepResult]:
        return vector_step(env, state, act(state.observation, key))

    state = vector_reset(env, seeds, jnp.zeros(seeds.shape, jnp.int32))
    return jax.lax.scan(step, state, jax.random.split(key, steps))[1]


def draw(env: Any, env_state: Any, indices: Array) -> Array:
    """Pictures uint8 [len(indices), H, W, 3] of the environments named, of an environment that has `render`.

    At most `DRAWN_AT_ONCE` at a time.
    """
    chosen = jax.tree.map(lambda x: x[indices], env_state)
    return jax.lax.map(env.render, chosen, batch_size=min(DRAWN_AT_ONCE, len(indices)))


class FunctionalVectorEnv:
    """The VectorEnv face of a functional environment; deterministic, and restored exactly from a checkpoint."""

    restores_episodes = True

    def __init__(self, env: FunctionalEnv, num_envs: int, seeds: Sequence[int]) -> None:
        if len(seeds) != num_envs:
            raise ValueError(f"seeds has {len(seeds)} entries: one for each of the {num_envs} environments")
        self.spec = env.spec
        self.num_envs = num_envs
        self._reset = jax.jit(functools.partial(vector_reset, env))
        self._restart = jax.jit(functools.partial(vector_restart, env))
        self._step = jax.jit(functools.partial(vector_step, env))
        self._draw = jax.jit(functools.partial(draw, env)) if hasattr(env, "render") else None
        self.reseed(seeds)

    def reseed(self, seeds: Sequence[int]) -> None:
        """The next `reset` begins the first episodes of these base seeds."""
        self._base_seed = jnp.asarray(np.asarray(seeds, np.uint32))
        self._state = self._reset(self._base_seed, jnp.zeros(self.num_envs, jnp.int32))
        self._fresh = True  # the state's episodes have not been handed out yet

    def reset(self, which: Array | None = None) -> Observation:
        """Begins the next episodes: of every environment, or of those that `which` [B] names."""
        if not self._fresh:
            if which is None:
                self._state = self._reset(self._base_seed, self._state.episode)
            else:
                self._state = self._restart(self._state, jnp.asarray(which, bool))
        self._fresh = False
        return self._state.observation

    def step(self, action: Array) -> StepResult:
        if self._fresh:
            raise RuntimeError("step was called before reset")
        self._state, result = self._step(self._state, jnp.asarray(action, jnp.float32))
        return result

    def frames(self, indices: Sequence[int]) -> Array:
        """Draws only the environments named, as uint8 [len(indices), H, W, 3]; on an accelerator they stay there.

        Raises ValueError where nothing can be drawn, and for an index out of range.
        """
        if self._draw is None:
            raise ValueError(f"{self.spec.name} cannot be drawn: it has no frames")
        rows = np.asarray(indices, np.int32).reshape(-1)
        if ((rows < 0) | (rows >= self.num_envs)).any():
            raise ValueError(f"indices={list(indices)}: must be in [0, {self.num_envs})")
        return placement.host_view(self._draw(self._state.env_state, placement.padded(rows)))[: len(rows)]

    def state_dict(self) -> dict[str, np.ndarray]:
        leaves = jax.tree.leaves(self._state)
        state = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        return state | {"fresh": np.asarray(self._fresh)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the episodes under way; the next `reset` returns their observations and goes on with them."""
        leaves, structure = jax.tree.flatten(self._state)
        restored = [jnp.asarray(state[f"leaf_{i}"], leaf.dtype) for i, leaf in enumerate(leaves)]
        self._state = jax.tree.unflatten(structure, restored)
        self._fresh = True

    def metrics(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass
