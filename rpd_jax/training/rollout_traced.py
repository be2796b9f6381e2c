"""Rollouts in an environment written in JAX: a scan over steps, part of a jitted program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.algorithms.base import MemberState
from rpd_jax.envs.base import FunctionalEnv, StepResult
from rpd_jax.envs.functional import VectorState, vector_reset, vector_step
from rpd_jax.guidance.labeler_traced import Seen
from rpd_jax.placement import spread
from rpd_jax.training.lookahead import with_next
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Observation, Transition


class Tracker(NamedTuple):
    """Sums over the running episodes of B environments, each [B]."""

    returns: Array
    lengths: Array
    success_once: Array


class Running(NamedTuple):
    """What lives on from one rollout to the next; environment p * N + n belongs to member p."""

    env: VectorState  # leaves [P * N, ...]
    starts: Array  # [P * N] bool: an episode begins with the observation to act on
    tracker: Tracker


class Ended(NamedTuple):
    """Sums over the episodes that ended, leaves [P]."""

    episodes: Array
    returns: Array
    lengths: Array
    success_once: Array
    success_at_end: Array


class Rollout(NamedTuple):
    """T steps of every member."""

    transition: Transition  # [T, P, N, ...]
    seen: Seen  # what the teacher may be queried on
    ended: Ended


def begin(env: FunctionalEnv, base_seeds: Array, ages: Array) -> Running:
    """The first episode of every environment, from its base seed [P * N] and at its age [P * N]."""
    num_envs = len(base_seeds)
    zeros = jnp.zeros(num_envs)
    return Running(
        env=vector_reset(env, base_seeds, jnp.zeros(num_envs, jnp.int32), ages),
        starts=jnp.ones(num_envs, bool),
        tracker=Tracker(zeros, zeros, jnp.zeros(num_envs, bool)),
    )


def begin_episodes(env: FunctionalEnv, running: Running, number: Array) -> Running:
    """Episode `number` of every environment begins, whatever was under way; broken ones stay counted."""
    fresh = begin(env, running.env.base_seed, jnp.zeros_like(running.env.age))
    fresh_env = vector_reset(env, running.env.base_seed, jnp.full_like(running.env.episode, number))
    counted = fresh_env._replace(not_finite=running.env.not_finite + fresh_env.not_finite)
    return fresh._replace(env=counted)


def collect(
    env: FunctionalEnv,
    population: Population,
    length: int,
    members: MemberState,
    running: Running,
    teacher_keys: Sequence[str] = (),
) -> tuple[Running, Rollout]:
    """Runs the members for `length` steps from where the last rollout ended; parameters stay as they are.

    `teacher_keys` are the entries of an observation that the teacher reads. Frames that the environment's observations
    do not hold are not drawn here: the states are kept, to draw those that are queried.
    """
    num_members = len(members.key)
    given = tuple(key for key in teacher_keys if key in env.spec.observation)
    kept = tuple(dict.fromkeys((*population.keys, *given)))
    keep_states = len(given) < len(teacher_keys)
    ahead = population.algorithm.ahead

    def by_member(tree: chex.ArrayTree) -> chex.ArrayTree:
        return jax.tree.map(lambda x: x.reshape(num_members, -1, *x.shape[1:]), tree)

    def step(running: Running, index: Array) -> tuple[Running, tuple[Transition, Observation, Array, Any, Ended]]:
        running = spread(running)
        observation = by_member(running.env.observation)
        acted = population.act(members, observation, index)
        vector, result = vector_step(env, running.env, acted.action.reshape(running.starts.shape[0], -1))
        is_end = result.terminated | result.truncated
        # The other entries are filled in below, by the next step's. Most steps end no episode, and cost nothing here.
        following = jax.lax.cond(
            jnp.any(is_end),
            lambda: population.look_ahead(members, by_member(result.final_observation)),
            lambda: {name: jnp.zeros_like(acted.extras[name]) for name in ahead},
        )
        tracker, ended = _track(running.tracker, result, is_end)
        transition = Transition(
            observation={},
            action=acted.action,
            **by_member({name: getattr(result, name) for name in ("reward", "terminated", "truncated")}),
            extras=acted.extras | {f"next_{name}": x for name, x in following.items()},
            success=by_member(result.success) if population.algorithm.whole_episodes else None,
        )
        seen = {key: observation[key] for key in kept}
        states = by_member(running.env.env_state) if keep_states else None
        out = (transition, seen, by_member(running.starts), states, by_member(ended))
        return Running(vector, is_end, tracker), out

    age = by_member(running.tracker.lengths.astype(jnp.int32))
    running, (transition, seen, starts, states, ended) = jax.lax.scan(
        step, running, jnp.arange(length, dtype=jnp.int32)
    )
    if ahead:
        last = population.look_ahead(members, by_member(running.env.observation))
        transition = with_next(transition, last, jnp)
    transition = transition._replace(observation={key: seen[key] for key in population.keys})
    totals = jax.tree.map(lambda x: jnp.sum(x, axis=(0, 2)), ended)
    extras = transition.extras
    shown = Seen(
        starts, age, extras.get("value"), {key: seen[key] for key in given}, states, tokens=extras.get("tokens")
    )
    return running, Rollout(transition, shown, totals)


def _track(tracker: Tracker, result: StepResult, is_end: Array) -> tuple[Tracker, Ended]:
    """Accounts for one step of B environments; returns the ended episodes' figures, 0 elsewhere, each [B]."""
    returns = tracker.returns + result.reward
    lengths = tracker.lengths + 1.0
    success_once = tracker.success_once | result.success
    figures = (jnp.ones_like(returns), returns, lengths, success_once, result.success)
    ended = Ended(*(jnp.where(is_end, x.astype(jnp.float32), 0.0) for x in figures))
    kept = Tracker(
        returns=jnp.where(is_end, 0.0, returns),
        lengths=jnp.where(is_end, 0.0, lengths),
        success_once=success_once & ~is_end,
    )
    return kept, ended
