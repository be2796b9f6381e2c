"""Iterations of a run: rollout, labels, advantages, update. On the host around a simulator, or as one program.

Both kinds have the same interface, so that the trainer need not know where the environment lives, and they give the
same result on an environment that can do both.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.algorithms.base import MemberState, guidance_weight
from rpd_jax.algorithms.variants import Variant, at
from rpd_jax.config import Config
from rpd_jax.envs.base import EnvSpec, FunctionalEnv, VectorEnv, first_ages
from rpd_jax.envs.functional import draw
from rpd_jax.guidance.labeler import Askers, Labeler
from rpd_jax.guidance.labeler_host import HostLabeler
from rpd_jax.guidance.labeler_traced import TracedLabeler
from rpd_jax.guidance.labels import Ledger, ledger_metrics
from rpd_jax.training import rollout_host, rollout_traced, summary
from rpd_jax.training.guidance_check import check_answers
from rpd_jax.training.population import Population, update
from rpd_jax.types import Array, Teacher

Row = dict[str, float]


class Loop(Protocol):
    """Runs iterations and remembers where the environments are between them."""

    at_once: int  # most iterations in one call of `run`
    ledgers: list[Ledger]  # of each member

    def run(self, members: MemberState, first: int, count: int) -> tuple[MemberState, list[Row]]:
        """Iterations `first` to `first + count - 1`; consumes `members`. Returns them and a row of metrics for each."""
        ...

    def state_dict(self) -> Any:
        """A pytree from which `load_state_dict` goes on."""
        ...

    def load_state_dict(self, state: Any) -> None: ...


class HostLoop:
    """A loop around a host vector environment; labels come from any teacher."""

    at_once = 1

    def __init__(self, config: Config, env: VectorEnv, population: Population, teacher: Teacher | None) -> None:
        self._config, self._env, self._population, self._teacher = config, env, population, teacher
        self.ledgers = [Ledger() for _ in population.members]
        keys = teacher.spec.observation_keys if teacher else ()
        self._weights = jax.jit(asking_weights)
        self._collector = rollout_host.HostCollector(env, population, config.algorithm.rollout_length, keys)
        self._labeler = _labeler(HostLabeler, teacher, env.spec, population, self._collector.num_envs)
        self._before: dict[str, Any] | None = None  # the state before an iteration that is under way, or failed

    def run(self, members: MemberState, first: int, count: int) -> tuple[MemberState, list[Row]]:
        rows = []
        for iteration in range(first, first + count):
            self._before = jax.tree.map(np.array, self._collector.state_dict())
            ledgers = [dataclasses.replace(ledger) for ledger in self.ledgers]
            try:
                members, row = self._iterate(members, iteration)
            except BaseException:
                self.ledgers[:] = ledgers
                raise
            self._before = None
            rows.append(row)
        return members, rows

    def _iterate(self, members: MemberState, iteration: int) -> tuple[MemberState, Row]:
        progress = iteration / self._config.iterations
        started = time.perf_counter()
        labels = None
        if self._labeler is not None:
            weight = np.asarray(self._weights(members, self._population.variants, np.float32(progress)))
            assert members.schedule is not None, "members in training have one"
            labels = self._labeler.rollout(weight, members.schedule.calls, iteration, self.ledgers)
        if self._population.algorithm.whole_episodes:
            self._collector.begin_episodes(iteration)
        rollout = self._collector.collect(members, labels)
        collected = time.perf_counter()
        targets = labels.finish(rollout.transition.extras.get("tokens")) if labels is not None else None
        labelled = time.perf_counter()
        members, metrics = self._population.update(members, rollout.transition, targets, progress)
        metrics = jax.device_get(metrics)
        updated = time.perf_counter()
        row = summary.flatten("train", self._population, rollout.episodes)
        row |= summary.flatten("update", self._population, summary.by_member(metrics))
        row |= self._env.metrics() | getattr(self._teacher, "metrics", dict)()
        row |= _costs(self._population, self.ledgers)  # of all sessions, where a teacher counts its own
        steps = self._config.algorithm.iteration_steps(self._env.num_envs)
        return members, row | {
            "time/rollout": collected - started,
            "time/label": labelled - collected,
            "time/update": updated - labelled,
            "time/env_steps_per_second": steps / (collected - started),
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the environments stand after the last iteration that was finished."""
        return self._collector.state_dict() if self._before is None else self._before

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._collector.load_state_dict(state)


def asking_weights(members: MemberState, variants: Variant, progress: Array) -> Array:
    """Of the distillation losses, [P]: a member whose weight is zero causes no query."""
    now = at(variants, progress)
    return jax.vmap(guidance_weight, in_axes=(0, 0, None))(members, now, progress) * now.asks


class Program(NamedTuple):
    """What an iteration in one program is made of; nothing of it changes."""

    env: FunctionalEnv
    population: Population
    labeler: TracedLabeler | None  # None where no teacher is queried

    @classmethod
    def of(cls, env: FunctionalEnv, population: Population, teacher: Teacher | None) -> Self:
        num_envs = population.config.env.num_envs
        make = functools.partial(TracedLabeler, draw=functools.partial(draw, env))
        return cls(env, population, _labeler(make, teacher, env.spec, population, num_envs))

    def iteration(
        self,
        members: MemberState,
        running: rollout_traced.Running,
        iteration: Array,
        variants: Variant,
        askers: Askers,
    ) -> tuple[MemberState, rollout_traced.Running, tuple[dict[str, Array], rollout_traced.Ended]]:
        """Collects, labels and updates; pure. The members, variants and askers may be some of the population's."""
        population, labeler = self.population, self.labeler
        config = population.config
        progress = iteration.astype(jnp.float32) / config.iterations
        keys = labeler.teacher.spec.observation_keys if labeler else ()
        if population.algorithm.whole_episodes:
            running = rollout_traced.begin_episodes(self.env, running, iteration)
        running, rollout = rollout_traced.collect(
            self.env, population, config.algorithm.rollout_length, members, running, keys
        )
        targets = None
        costs: dict[str, Array] = dict.fromkeys(COSTS, jnp.zeros(len(members.key), jnp.int32))
        if labeler is not None:
            weight = asking_weights(members, variants, progress)
            assert members.schedule is not None, "members in training have one"
            found = labeler.label(rollout.seen, weight, members.schedule.calls, iteration, askers)
            targets = found.labels
            costs = {
                "queries": found.queries,
                "covered": found.covered,
                "refused": found.refused,
                "clipped": found.clipped,
            }
        members, metrics = update(population.algorithm, members, variants, rollout.transition, targets, progress)
        not_finite = jnp.sum(running.env.not_finite.reshape(len(members.key), -1), axis=1)
        return members, running, (metrics | costs | {"not_finite": not_finite}, rollout.ended)


COSTS = ("queries", "covered", "refused", "clipped")


def run_iterations(
    program: Program,
    at_once: int,
    members: MemberState,
    running: rollout_traced.Running,
    variants: Variant,
    askers: dict[str, Any],
    first: Array,
    count: Array,
) -> tuple[MemberState, rollout_traced.Running, Any]:
    """`count` iterations from `first` on, at most `at_once`; the metrics' leaves are [at_once, P].

    `askers` are the arrays of `Askers`.
    """
    everyone = program.population.askers._replace(**askers)
    one = functools.partial(program.iteration, askers=everyone)
    blank = jax.eval_shape(one, members, running, first, variants)[2]
    buffers = jax.tree.map(lambda x: jnp.zeros((at_once, *x.shape), x.dtype), blank)

    def body(i: Array, carry: tuple) -> tuple:
        members, running, buffers = carry
        members, running, metrics = one(members, running, first + i, variants)
        return members, running, jax.tree.map(lambda buffer, x: buffer.at[i].set(x), buffers, metrics)

    return jax.lax.fori_loop(0, count, body, (members, running, buffers))


class GraphLoop:
    """Everything in one jitted program, several iterations a call; for environments and teachers written in JAX.

    Nothing but the metrics leaves the device. Members and environments are donated.
    """

    def __init__(
        self,
        config: Config,
        env: FunctionalEnv,
        seeds: Sequence[int],
        population: Population,
        teacher: Teacher | None,
        *,
        random_ages: bool = False,
    ) -> None:
        self._config, self._population = config, population
        self.at_once = config.run.iterations_per_call
        self.ledgers = [Ledger() for _ in population.members]
        ages = first_ages(seeds, env.spec.max_episode_steps) if random_ages else np.zeros(len(seeds), np.int32)
        begin = jax.jit(functools.partial(rollout_traced.begin, env))
        self._running = population.mesh.place(begin(np.asarray(seeds, np.uint32), ages), environments=True)
        program = Program.of(env, population, teacher)
        self._labeler = program.labeler
        split = population.mesh.split(
            functools.partial(run_iterations, program, self.at_once), (0, 0, 0, 0, None, None), out_axes=(0, 0, 1)
        )
        stay = population.mesh.stay(False, True, None)
        self._program = jax.jit(split, donate_argnums=(0, 1), **stay)
        # Arguments, not constants that XLA folds: it would fold others in the programs of other numbers of devices.
        self._who = population.mesh.place(jax.device_put((population.variants, population.askers.arrays)))

    def run(self, members: MemberState, first: int, count: int) -> tuple[MemberState, list[Row]]:
        started = time.perf_counter()
        when = np.int32(first), np.int32(count)
        members, self._running, metrics = self._program(members, self._running, *self._who, *when)
        metrics, ended = jax.device_get(metrics)
        seconds = (time.perf_counter() - started) / count
        steps = self._config.algorithm.iteration_steps(self._config.env.num_envs * len(self._population))
        rows = []
        for i in range(count):
            update = {name: values[i] for name, values in metrics.items()}
            costs = [update.pop(name) for name in COSTS]
            if self._labeler is not None:
                self._labeler.charge(self.ledgers, *costs)
            not_finite = float(np.sum(update.pop("not_finite")))
            row = summary.flatten("train", self._population, _means(rollout_traced.Ended(*(x[i] for x in ended))))
            row |= summary.flatten("update", self._population, summary.by_member(update))
            row |= _costs(self._population, self.ledgers)
            row["env/not_finite"] = not_finite
            rows.append(row | {"time/iteration": seconds, "time/train_steps_per_second": steps / seconds})
        return members, rows

    def state_dict(self) -> rollout_traced.Running:
        return self._running

    def load_state_dict(self, state: rollout_traced.Running) -> None:
        self._running = self._population.mesh.place(state, environments=True)


LabelerOf = TypeVar("LabelerOf", bound=Labeler)


def _labeler(
    make: Callable[..., LabelerOf], teacher: Teacher | None, spec: EnvSpec, population: Population, num_envs: int
) -> LabelerOf | None:
    """What queries the teacher for a population; None where no variant is guided."""
    if teacher is None or not population.guides:
        return None
    check_answers(teacher, population.specs, spec)
    batch_size = population.config.teacher.batch_size
    return make(teacher, spec, population.askers, batch_size, num_envs, scores=population.algorithm.scores)


def _costs(population: Population, ledgers: Sequence[Ledger]) -> Row:
    """What guidance has cost so far: all members together, and each guided one."""
    row = ledger_metrics(ledgers)
    for index in np.flatnonzero(population.askers.guided).tolist():
        member, ledger = population.members[index], ledgers[index]
        where = f"{member.variant.name}/{member.seed}"
        row |= {f"teacher/labels/{where}": float(ledger.labels), f"teacher/covered/{where}": float(ledger.covered)}
    return row


def _means(ended: rollout_traced.Ended) -> list[Row]:
    """A row for each member: how many episodes ended, and their means where there were any."""
    rows = []
    for count, *sums in zip(*ended, strict=True):
        row: Row = {"episodes": float(count)}
        if count > 0:
            names = ("return", "length", "success_once", "success_at_end")
            row |= {name: float(total / count) for name, total in zip(names, sums, strict=True)}
        rows.append(row)
    return rows
