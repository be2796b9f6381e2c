"""The labels of a population's rollout: some members ask about every step, some about a few, some not any more."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.algorithms.update import MemberState
from rpd_jax.envs.base import EnvSpec, FunctionalEnv
from rpd_jax.envs.functional import draw
from rpd_jax.guidance import queries, sparse
from rpd_jax.guidance.labels import Ledger, label_in_graph, no_labels, spread
from rpd_jax.guidance.sparse import Asked
from rpd_jax.training import rollout_traced
from rpd_jax.training.population import Population
from rpd_jax.types import ActionContract, Array, Observation, Teacher, TeacherLabels


def most_queries(population: Population, num_envs: int) -> int:
    """Queries that no sparse member can exceed in a rollout."""
    length = population.config.ppo.rollout_length
    return num_envs * max(population.members[p].variant.guidance.max_calls(length) for p in population.sparse)


def label_in_program(
    env: FunctionalEnv,
    population: Population,
    teacher: Teacher,
    members: MemberState,
    rollout: rollout_traced.Rollout,
    weight: Array,
    iteration: Array,
) -> tuple[TeacherLabels, Array, Array]:
    """Labels a rollout inside a jitted program.

    Args:
      env: in which it was made; draws the frames that its observations do not hold.
      population, members: who acted.
      teacher: can be traced.
      rollout: of all members.
      weight: [P] of the members' distillation losses; where it is 0 no label is valid.
      iteration: of the run.

    Returns:
      labels [T, P, N, ...], how many observations each member asked about, and how many answers were refused, int [P].
    """
    num_members, num_envs = rollout.starts.shape[1:]
    labels = no_labels(rollout.starts.shape, env.spec.action_dim)
    count = refused = jnp.zeros(num_members, jnp.int32)
    if population.dense:
        labels = spread(_every_step(env, population, teacher, rollout, iteration), population.dense, num_members)
        labels = labels._replace(valid=labels.valid & (weight > 0)[None, :, None])
        dense = jnp.asarray(population.dense)
        count = count.at[dense].set(jnp.where(weight[dense] > 0, rollout.starts[:, 0].size, 0))
        refused = count - jnp.sum(labels.valid, axis=(0, 2))
    if not population.sparse:
        return labels, count, refused
    batch_size = min(population.config.teacher.batch_size, num_envs)
    most = most_queries(population, num_envs)
    chosen = np.asarray(population.sparse)
    guidance = jax.tree.map(lambda x: x[chosen], population.variants.guidance)
    calls = jnp.where(weight[chosen] > 0, members.schedule.calls[chosen], 0)
    rows = jax.tree.map(
        lambda x: jnp.moveaxis(x[:, chosen], 1, 0),
        (rollout.starts, rollout.transition.value, rollout.teacher_observation, rollout.states),
    )
    seeds = jnp.asarray(np.asarray(population.seeds, np.uint32)[chosen])

    kinds = tuple(dict.fromkeys(population.members[p].variant.guidance.queries for p in population.sparse))

    def one(inputs: tuple) -> tuple[TeacherLabels, Array, Array]:
        (starts, value, observation, states), guidance, calls, age, seed = inputs
        where = queries.plan(queries.query_key(seed, iteration), guidance, calls, starts, value, age, kinds)

        def see(t: Array, n: Array) -> Observation:
            seen = {key: x[t, n] for key, x in observation.items()}
            if states is not None:
                seen["rgb"] = draw(env, jax.tree.map(lambda x: x[t, n], states), jnp.arange(batch_size))
            return seen

        answers = sparse.ask_in_graph(
            teacher, env.spec.instruction, see, where, seed, iteration, batch_size, most, env.spec.action_dim
        )
        targets = sparse.targets(answers, where, starts, guidance, *_contracts(env.spec))
        return targets, jnp.sum(where), jnp.sum(where & ~answers.valid)

    def none(inputs: tuple) -> tuple[TeacherLabels, Array, Array]:
        blank = TeacherLabels(*(x[:, 0] for x in no_labels((len(rollout.starts), 1, num_envs), env.spec.action_dim)))
        return blank, 0, 0

    # One member after the other: each costs what it asks, and nothing when it has stopped asking.
    answers, asked, unusable = jax.lax.map(
        lambda inputs: jax.lax.cond(inputs[2] > 0, one, none, inputs),
        (rows, guidance, calls, rollout.age[chosen], seeds),
    )
    labels = jax.tree.map(lambda whole, x: whole.at[:, chosen].set(jnp.moveaxis(x, 0, 1)), labels, answers)
    return labels, count.at[chosen].set(asked), refused.at[chosen].set(unusable)


def _every_step(
    env: FunctionalEnv, population: Population, teacher: Teacher, rollout: rollout_traced.Rollout, iteration: Array
) -> TeacherLabels:
    """Labels [T, G, N, ...] of the dense members."""
    dense = np.asarray(population.dense)
    observation = {key: x[:, dense] for key, x in rollout.teacher_observation.items()}
    starts = rollout.starts[:, dense]
    if rollout.states is not None:
        states = jax.tree.map(lambda x: x[:, dense].reshape(-1, *x.shape[3:]), rollout.states)
        frames = draw(env, states, jnp.arange(starts.size))
        observation["rgb"] = frames.reshape(*starts.shape, *frames.shape[1:])
    seeds = [population.seeds[index] for index in population.dense]
    batch_size = population.config.teacher.batch_size
    return label_in_graph(teacher, env.spec.instruction, observation, starts, seeds, iteration, batch_size)


class RolloutQueries:
    """The queries of a rollout on the host, see `rollout.host.Questions`.

    Args:
      population: of which.
      members: the sparse members that still ask.
      calls: [P] of an environment in this rollout.
      iteration: of the run.
    """

    def __init__(self, population: Population, members: Sequence[int], calls: Array, iteration: int) -> None:
        self.members = list(members)
        chosen = np.asarray(self.members, np.int32)
        self._length = population.config.ppo.rollout_length
        self._guidance = jax.tree.map(lambda x: x[chosen], population.variants.guidance)
        self._calls = jnp.asarray(calls)[chosen]
        self._keys = jnp.stack([queries.query_key(population.seeds[p], iteration) for p in self.members])

    def begin(self, age: np.ndarray) -> None:
        self._state = jax.vmap(queries.begin, in_axes=(0, 0, None))(
            self._keys, jnp.asarray(age, jnp.int32), self._length
        )

    def ask(self, step: int, begins: np.ndarray, values: np.ndarray) -> np.ndarray:
        self._state, where = _ask(
            self._state, self._guidance, self._calls, np.int32(step), begins, values, self._length
        )
        return np.asarray(where)


@functools.partial(jax.jit, static_argnums=6)
def _ask(state: Any, guidance: Any, calls: Array, step: Array, begins: Array, values: Array, length: int) -> tuple:
    ask = functools.partial(queries.ask, length=length)
    return jax.vmap(ask, in_axes=(0, 0, 0, None, 0, 0))(state, guidance, calls, step, begins, values)


def label_questions(
    population: Population,
    teacher: Teacher,
    spec: EnvSpec,
    questions: RolloutQueries,
    asked: Sequence[Asked],
    starts: np.ndarray,
    iteration: int,
    ledgers: Sequence[Ledger],
) -> list[TeacherLabels]:
    """Targets [T, N, ...] of each member of `questions`, from its queries `asked` of a rollout; charges their ledgers.

    `starts` is bool [T, P, N], `ledgers` are those of all P members.
    """
    found = []
    batch_size = min(population.config.teacher.batch_size, starts.shape[2])
    for member, mine in zip(questions.members, asked, strict=True):
        began = time.perf_counter()
        seed, action_dim = population.seeds[member], spec.action_dim
        answers = sparse.ask_on_host(teacher, spec.instruction, mine, seed, iteration, batch_size, action_dim)
        seconds = time.perf_counter() - began
        guidance = jax.tree.map(lambda x, member=member: x[member], population.variants.guidance)
        found.append(_targets(answers, mine.where, starts[:, member], guidance, *_contracts(spec)))
        covered, refused = int(jnp.sum(found[-1].valid)), int((mine.where & ~answers.valid).sum())
        ledgers[member].charge(int(mine.where.sum()), batch_size, seconds=seconds, covered=covered, refused=refused)
    return found


_targets = jax.jit(sparse.targets, static_argnums=(4, 5))


def _contracts(spec: EnvSpec) -> tuple[ActionContract, ActionContract]:
    """In which teachers answer, and in which the environment's steps are taken."""
    assert spec.undivided_contract is not None and spec.contract is not None, "check() refuses such environments"
    return spec.undivided_contract, spec.contract
