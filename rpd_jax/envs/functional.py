"""Vectors of functional (JAX) environments: pure reset and step with automatic resets, and their host face."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.envs.base import FunctionalEnv, StepResult
from rpd_jax.types import Array, Observation


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


def vector_step(env: FunctionalEnv, state: VectorState, action: Array) -> tuple[VectorState, StepResult]:
    """Steps B environments with actions [B, A]; those whose episode ends begin their next one."""
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)
    env_state, final, reward, terminated, truncated, success = jax.vmap(
        lambda s, a: env.step(s, jnp.clip(a, low, high))
    )(state.env_state, action)
    ended = jnp.logical_or(terminated, truncated)
    fresh = vector_reset(env, state.base_seed, state.episode)

    def pick(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(ended.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, old)

    state = VectorState(
        env_state=pick(fresh.env_state, env_state),
        observation=pick(fresh.observation, final),
        base_seed=state.base_seed,
        episode=pick(fresh.episode, state.episode),
    )
    return state, StepResult(state.observation, final, reward, terminated, truncated, success)


class FunctionalVectorEnv:
    """The VectorEnv face of a functional environment; deterministic, and restored exactly from a checkpoint."""

    restores_episodes = True

    def __init__(self, env: FunctionalEnv, num_envs: int, seeds: Sequence[int]) -> None:
        if len(seeds) != num_envs:
            raise ValueError(f"seeds has {len(seeds)} entries: one for each of the {num_envs} environments")
        self.spec = env.spec
        self.num_envs = num_envs
        self._reset = jax.jit(functools.partial(vector_reset, env))
        self._step = jax.jit(functools.partial(vector_step, env))
        self._base_seed = jnp.asarray(np.asarray(seeds, np.uint32))
        self._state = self._reset(self._base_seed, jnp.zeros(num_envs, jnp.int32))
        self._fresh = True  # the state's episodes have not been handed out yet

    def reset(self) -> Observation:
        if not self._fresh:
            self._state = self._reset(self._base_seed, self._state.episode)
        self._fresh = False
        return self._state.observation

    def step(self, action: Array) -> StepResult:
        if self._fresh:
            raise RuntimeError("step was called before reset")
        self._state, result = self._step(self._state, jnp.asarray(action, jnp.float32))
        return result

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        raise ValueError(f"{self.spec.name} cannot be drawn: it has no frames")

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
