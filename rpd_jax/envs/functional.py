"""Vectors of functional (JAX) environments: pure reset and step with automatic resets, and their host interface."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax import placement
from rpd_jax.envs.base import FunctionalEnv, StepResult, first_ages
from rpd_jax.types import Array, Observation

DRAWN_AT_ONCE = 16  # environments, for the sake of memory


class VectorState(NamedTuple):
    """B environments between two steps."""

    env_state: Any  # leaves [B, ...]
    observation: Observation  # [B, ...]
    base_seed: chex.Array  # [B] uint32
    episode: chex.Array  # [B] int32: episodes begun
    age: chex.Array  # [B] int32: at `max_episode_steps` the episode is truncated; steps made, if it began at age 0
    not_finite: chex.Array  # [B] int32: steps and resets so far that gave, or were asked for, what is no number


def vector_reset(
    env: FunctionalEnv, base_seed: chex.Array, episode: chex.Array, age: chex.Array | None = None
) -> VectorState:
    """Begins episode number `episode` [B] of environments whose keys follow from `base_seed` [B].

    `age` [B] is that of the episodes, see `base.first_ages`; None: 0. A first observation that is not finite is
    replaced by zeros and counted.
    """

    def reset(seed: chex.Array, number: chex.Array) -> tuple[Any, Observation]:
        return env.reset(jax.random.fold_in(jax.random.key(seed), number))

    env_state, observation = jax.vmap(reset)(base_seed, episode)
    observation = _as_specified(env, observation)
    broken = ~_is_finite(observation)
    observation = jax.tree.map(lambda x: _where(broken, jnp.zeros_like(x), x), observation)
    age = jnp.zeros_like(episode) if age is None else age
    return VectorState(env_state, observation, base_seed, episode + 1, age, broken.astype(jnp.int32))


def vector_restart(env: FunctionalEnv, state: VectorState, which: Array) -> VectorState:
    """Begins the next episode of the environments that `which` [B] names; the others stay as they are."""
    fresh = vector_reset(env, state.base_seed, state.episode)
    fresh = fresh._replace(not_finite=state.not_finite + fresh.not_finite)
    return jax.tree.map(functools.partial(_where, which), fresh, state)


def vector_step(env: FunctionalEnv, state: VectorState, action: Array) -> tuple[VectorState, StepResult]:
    """Steps B environments with actions [B, A]; those whose episode ends begin their next one.

    Where the next observation or the reward is not finite, or the action is NaN, the episode is truncated: with reward
    0, no success, and the observation that was acted on as the final one.
    """
    running, result = vector_advance(env, state, action)
    ended = jnp.logical_or(result.terminated, result.truncated)
    restart = functools.partial(vector_restart, env)
    state = jax.lax.cond(jnp.any(ended), restart, lambda running, ended: running, running, ended)
    return state, result._replace(observation=state.observation)


def vector_advance(
    env: FunctionalEnv, state: VectorState, action: Array, limit: Array | int | None = None
) -> tuple[VectorState, StepResult]:
    """As `vector_step`, but an episode that ends is left where it ended.

    `limit` is the age at which episodes are truncated; None: the environment's `max_episode_steps`.
    """
    limit = env.spec.max_episode_steps if limit is None else limit
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)
    env_state, final, reward, terminated, truncated, success = jax.vmap(
        lambda s, a: env.step(s, jnp.clip(jnp.nan_to_num(a, nan=0.0), low, high))
    )(state.env_state, action)
    env_state = jax.tree.map(
        lambda new, old: new if new.dtype == old.dtype else new.astype(old.dtype), env_state, state.env_state
    )
    final, reward = _as_specified(env, final), reward.astype(jnp.float32)
    broken = ~_is_finite((final, reward)) | jnp.any(jnp.isnan(action), axis=-1)
    final = jax.tree.map(functools.partial(_where, broken), state.observation, final)
    reward = jnp.where(broken, 0.0, reward)
    terminated, success = terminated & ~broken, success & ~broken
    age = state.age + 1
    truncated |= broken | ((age >= limit) & ~terminated)
    running = VectorState(env_state, final, state.base_seed, state.episode, age, state.not_finite + broken)
    return running, StepResult(final, final, reward, terminated, truncated, success)


def _is_finite(tree: Any) -> Array:
    """Whether all floats of each environment are, bool [B], of leaves [B, ...]."""
    leaves = jax.tree.leaves(tree)
    finite = jnp.ones(len(leaves[0]), bool)
    for x in leaves:
        if jnp.issubdtype(x.dtype, jnp.floating):
            finite &= jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim)))
    return finite


def _where(which: Array, chosen: Array, other: Array) -> Array:
    """Leaves [B, ...]: of `chosen` where `which` [B] says so."""
    return jnp.where(which.reshape(-1, *(1,) * (chosen.ndim - 1)), chosen, other)


def _as_specified(env: FunctionalEnv, observation: Observation) -> Observation:
    """Of the dtypes that the specification names, also where a program has switched 64-bit numbers on."""
    return {key: x.astype(env.spec.observation[key].dtype) for key, x in observation.items()}


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


def draw(env: Any, env_state: Any, indices: Array, camera: str = "rgb") -> Array:
    """Pictures uint8 [len(indices), H, W, 3] of the environments named, of an environment that has `render`.

    At most `DRAWN_AT_ONCE` at a time.
    """
    chosen = jax.tree.map(lambda x: x[indices], env_state)
    render = env.render if camera == "rgb" else functools.partial(env.render, camera=camera)
    return jax.lax.map(render, chosen, batch_size=min(DRAWN_AT_ONCE, len(indices)))


class FunctionalVectorEnv:
    """The VectorEnv interface of a functional environment; deterministic, and restored exactly from a checkpoint."""

    restores_episodes = True

    def __init__(self, env: FunctionalEnv, num_envs: int, seeds: Sequence[int], *, random_ages: bool = False) -> None:
        """`random_ages`: the first episodes of the seeds begin at ages of their own, see `base.first_ages`."""
        if len(seeds) != num_envs:
            raise ValueError(f"seeds has {len(seeds)} entries: one for each of the {num_envs} environments")
        self.spec = env.spec
        self.num_envs = num_envs
        self._random_ages = random_ages
        self._reset = jax.jit(functools.partial(vector_reset, env))
        self._restart = jax.jit(functools.partial(vector_restart, env))
        self._step = jax.jit(functools.partial(vector_step, env))
        self._draw = jax.jit(functools.partial(draw, env), static_argnums=2) if hasattr(env, "render") else None
        self.reseed(seeds)

    def reseed(self, seeds: Sequence[int]) -> None:
        """The next `reset` begins the first episodes of these base seeds."""
        self._base_seed = jnp.asarray(np.asarray(seeds, np.uint32))
        ages = first_ages(seeds, self.spec.max_episode_steps) if self._random_ages else np.zeros(len(seeds), np.int32)
        self._state = self._reset(self._base_seed, jnp.zeros(self.num_envs, jnp.int32), ages)
        self._fresh = True  # the state's episodes have not been handed out yet

    def begin_episode(self, number: int) -> Observation:
        """Begins episode `number`, counted from 0, of every environment."""
        self._state = self._reset(self._base_seed, jnp.full(self.num_envs, number, jnp.int32))
        self._fresh = False
        return self._state.observation

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

    def frames(self, indices: Sequence[int], camera: str = "rgb") -> Array:
        """Draws only the environments named, as uint8 [len(indices), H, W, 3]; on an accelerator they stay there.

        Raises ValueError where nothing can be drawn, and for an index out of range.
        """
        if self._draw is None:
            raise ValueError(f"{self.spec.name} cannot be drawn: it has no frames")
        rows = np.asarray(indices, np.int32).reshape(-1)
        if ((rows < 0) | (rows >= self.num_envs)).any():
            raise ValueError(f"indices={list(indices)}: must be in [0, {self.num_envs})")
        return placement.host_view(self._draw(self._state.env_state, placement.padded(rows), camera))[: len(rows)]

    def state_dict(self) -> dict[str, np.ndarray]:
        leaves = jax.tree.leaves(self._state)
        state = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        return state | {"fresh": np.asarray(self._fresh)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the episodes under way; the next `reset` returns their observations and goes on with them.

        States without `age` and `not_finite`, the last two, are of the time when environments alone counted steps.
        """
        leaves, structure = jax.tree.flatten(self._state)
        leaves[-2:] = [jnp.zeros_like(leaf) for leaf in leaves[-2:]]
        restored = [jnp.asarray(state.get(f"leaf_{i}", leaf), leaf.dtype) for i, leaf in enumerate(leaves)]
        self._state = jax.tree.unflatten(structure, restored)
        self._fresh = True

    def metrics(self) -> dict[str, float]:
        return {"env/not_finite": float(jnp.sum(self._state.not_finite))}

    def close(self) -> None:
        pass
