"""Query strategies: at which steps of a rollout the teacher is queried, within a budget of calls.

A strategy decides from what is known when the step is made, so that a simulator renders only the environments
that query; the same functions run in a loop on the host and inside a program. None but "all" makes more than N times
the budget of calls in a rollout of N environments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpd_jax.guidance.settings import QUERIES, Guidance
from rpd_jax.keys import stream


class Step(NamedTuple):
    """What a strategy may look at: one step of a member's N environments."""

    index: chex.Array  # t, a scalar
    length: int  # T
    budget: chex.Array  # calls of an environment in this rollout, a scalar
    window: chex.Array  # D, a scalar
    asked: chex.Array  # [N] calls so far in this rollout
    age: chex.Array  # [N] steps since the episode began
    value: chex.Array  # [N] of the student
    phase: chex.Array  # [N] whole numbers in [0, T), drawn once per rollout
    chance: chex.Array  # [N] in [0, 1), drawn at every step


def even(step: Step) -> chex.Array:
    """At equal distances, in each environment shifted by its phase."""

    def due(t: chex.Array) -> chex.Array:
        return (t * step.budget + step.phase) // step.length

    return due(step.index + 1) > due(step.index)


def random(step: Step) -> chex.Array:
    """At random, by sampling without replacement."""
    left = step.length - step.index
    return step.chance * left < step.budget - step.asked


def starts(step: Step) -> chex.Array:
    """From the beginning of an episode on, window after window, until the budget is spent."""
    return (step.age % step.window == 0) & (step.asked < step.budget)


def value(step: Step) -> chex.Array:
    """Where the student expects least: at every step the environments of the lowest value (ours, not the paper's)."""
    num_envs = len(step.value)

    def due(t: chex.Array) -> chex.Array:
        return t * step.budget * num_envs // step.length

    rank = jnp.argsort(jnp.argsort(step.value))
    return rank < due(step.index + 1) - due(step.index)


def every(step: Step) -> chex.Array:
    """At every step."""
    return jnp.ones_like(step.asked, bool)


STRATEGIES: dict[str, Callable[[Step], chex.Array]] = {
    "all": every,
    "even": even,
    "random": random,
    "starts": starts,
    "value": value,
}
assert tuple(STRATEGIES) == QUERIES


class Asking(NamedTuple):
    """A member's rollout under way."""

    asked: chex.Array  # [N] calls so far
    age: chex.Array  # [N] of the observation before
    phase: chex.Array  # [N]
    key: chex.PRNGKey


def query_key(seed: chex.Numeric, iteration: chex.Numeric) -> chex.PRNGKey:
    """The key of a member's queries in an iteration."""
    return jax.random.fold_in(stream(seed, "queries"), iteration)


def begin(key: chex.PRNGKey, age: chex.Array, length: int) -> Asking:
    """Before a rollout's first step.

    Args:
      key: of the member's queries in this iteration, see `query_key`.
      age: int [N], steps that the episodes under way have lasted.
      length: T.
    """
    phase_key, key = jax.random.split(key)
    phase = jax.random.randint(phase_key, age.shape, 0, length)
    return Asking(jnp.zeros_like(age), age - 1, phase, key)


def ask(
    state: Asking,
    guidance: Guidance,
    calls: chex.Array,
    index: chex.Array,
    begins: chex.Array,
    values: chex.Array,
    *,
    length: int,
    kinds: Sequence[str] = QUERIES,
) -> tuple[Asking, chex.Array]:
    """Decides about one step of a member; returns (state, bool [N]).

    Args:
      state: before the step.
      guidance: the member's.
      calls: of an environment in this rollout, a scalar; 0: no queries.
      index: t, a scalar.
      begins: bool [N], an episode begins with this observation.
      values: [N] of the student.
      length: T.
      kinds: the strategies that the member's can be one of; no others are computed.
    """
    age = jnp.where(begins, 0, state.age + 1)
    chance = jax.random.uniform(jax.random.fold_in(state.key, index), age.shape)
    step = Step(index, length, calls, guidance.window, state.asked, age, values, state.phase, chance)
    wanted = jnp.zeros_like(begins, bool)
    for kind in kinds:
        wanted |= STRATEGIES[kind](step) & (guidance.strategy == QUERIES.index(kind))
    wanted &= calls > 0
    return state._replace(asked=state.asked + wanted, age=age), wanted


def plan(
    key: chex.PRNGKey,
    guidance: Guidance,
    calls: chex.Array,
    begins: chex.Array,
    values: chex.Array,
    age: chex.Array,
    kinds: Sequence[str] = QUERIES,
) -> chex.Array:
    """What `ask` decides about a whole rollout, bool [T, N].

    Args:
      key, guidance, calls, kinds: as in `begin` and `ask`.
      begins: bool [T, N].
      values: [T, N].
      age: int [N], as in `begin`.
    """
    length = len(begins)

    def step(state: Asking, inputs: tuple) -> tuple[Asking, chex.Array]:
        return ask(state, guidance, calls, *inputs, length=length, kinds=kinds)

    state = begin(key, age, length)
    return jax.lax.scan(step, state, (jnp.arange(length), begins, values))[1]
