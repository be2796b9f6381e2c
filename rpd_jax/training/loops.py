"""Iterations of a run: rollout, labels, advantages, update. On the host around a simulator, or as one program.

Both kinds have the same face, so that the trainer need not know where the environment lives, and they give the same
result on an environment that can do both.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.algorithms.update import MemberState, guidance_weight
from rpd_jax.config import Config
from rpd_jax.envs.base import FunctionalEnv, VectorEnv, first_ages
from rpd_jax.guidance.labels import Ledger, label_rollout, ledger_metrics, no_labels, spread
from rpd_jax.guidance.stream import STREAMED, BackgroundTeacher, LabelStream
from rpd_jax.training import rollout_host, rollout_traced, summary
from rpd_jax.training.labelling import RolloutQueries, label_in_program, label_questions
from rpd_jax.training.population import Population
from rpd_jax.types import Array, Teacher, TeacherLabels

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
        self._weights = jax.jit(jax.vmap(guidance_weight, in_axes=(0, 0, None)))
        self._collector = rollout_host.HostCollector(env, population, config.ppo.rollout_length, keys)
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
        # of the distillation losses, [P]: a member whose weight is zero causes no query
        weight = np.asarray(self._weights(members, self._population.variants, np.float32(progress)))
        dense = [index for index in self._population.dense if weight[index] > 0]
        asking = [index for index in self._population.sparse if weight[index] > 0]
        questions = RolloutQueries(self._population, asking, members.schedule.calls, iteration) if asking else None
        started = time.perf_counter()
        stream = self._stream(dense, iteration)
        rollout = self._collector.collect(members, dense, stream.add if stream else None, questions)
        collected = time.perf_counter()
        labels = self._label(rollout, dense, iteration, stream, questions)
        labelled = time.perf_counter()
        members, metrics = self._population.update(members, rollout.transition, labels, progress)
        metrics = jax.device_get(metrics)
        updated = time.perf_counter()
        row = summary.flatten("train", self._population, rollout.episodes)
        row |= summary.flatten("update", self._population, summary.by_member(metrics))
        row |= self._env.metrics() | getattr(self._teacher, "metrics", dict)()
        row |= _costs(self._population, self.ledgers)  # of all sessions, where a teacher counts its own
        steps = self._config.ppo.batch_size(self._env.num_envs)
        return members, row | {
            "time/rollout": collected - started,
            "time/label": labelled - collected,
            "time/update": updated - labelled,
            "time/env_steps_per_second": steps / (collected - started),
        }

    def _stream(self, guided: list[int], iteration: int) -> LabelStream | None:
        """Labels the rollout while it is collected, where the teacher can."""
        if not guided or not isinstance(self._teacher, BackgroundTeacher):
            return None
        seeds, iteration, batch_size, ledgers = self._asked(guided, iteration)
        num_envs = self._env.num_envs // len(self._population)
        steps = -(-STREAMED // num_envs)  # whole steps, so that a batch begins as soon as they are made
        batch_size = min(batch_size, steps * num_envs)
        return LabelStream(self._teacher, self._env.spec.instruction, seeds, iteration, batch_size, ledgers)

    def _label(
        self,
        rollout: rollout_host.Rollout,
        dense: list[int],
        iteration: int,
        stream: LabelStream | None,
        questions: RolloutQueries | None,
    ) -> TeacherLabels | None:
        if not self._population.terms:
            return None
        spec, starts = self._env.spec, rollout.starts
        labels = no_labels(starts.shape, spec.action_dim)
        if not dense and questions is None:
            return labels
        assert self._teacher is not None
        if dense:
            answers = stream.finish() if stream is not None else label_rollout(
                self._teacher, spec.instruction, rollout.teacher_observation, starts[:, dense],
                *self._asked(dense, iteration),
            )  # fmt: skip
            labels = spread(answers, dense, len(self._population))
        if questions is not None:
            targets = label_questions(
                self._population, self._teacher, spec, questions, rollout.asked, starts, iteration, self.ledgers
            )
            for member, mine in zip(questions.members, targets, strict=True):
                labels = jax.tree.map(lambda whole, x, p=member: whole.at[:, p].set(x), labels, mine)
        return labels

    def _asked(self, guided: list[int], iteration: int) -> tuple[list[int], int, int, list[Ledger]]:
        """(seeds, iteration, batch size, ledgers) of the guided members' labels."""
        seeds = [self._population.seeds[index] for index in guided]
        return seeds, iteration, self._config.teacher.batch_size, [self.ledgers[index] for index in guided]

    def state_dict(self) -> dict[str, Any]:
        """Where the environments stand after the last iteration that was finished."""
        return self._collector.state_dict() if self._before is None else self._before

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._collector.load_state_dict(state)


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
        self._config, self._env, self._population, self._teacher = config, env, population, teacher
        self.at_once = config.run.iterations_per_call
        self.ledgers = [Ledger() for _ in population.members]
        ages = first_ages(seeds, env.spec.max_episode_steps) if random_ages else np.zeros(len(seeds), np.int32)
        self._running = jax.jit(functools.partial(rollout_traced.begin, env))(np.asarray(seeds, np.uint32), ages)
        self._program = jax.jit(self._iterations, donate_argnums=(0, 1))

    def run(self, members: MemberState, first: int, count: int) -> tuple[MemberState, list[Row]]:
        started = time.perf_counter()
        members, self._running, metrics = self._program(members, self._running, np.int32(first), np.int32(count))
        metrics, ended = jax.device_get(metrics)
        seconds = (time.perf_counter() - started) / count
        steps = self._config.ppo.batch_size(self._config.env.num_envs * len(self._population))
        rows = []
        for i in range(count):
            update = {name: values[i] for name, values in metrics.items()}
            self._charge(*(update.pop(name) for name in ("queries", "covered", "refused")))
            not_finite = float(update.pop("not_finite"))
            row = summary.flatten("train", self._population, _means(rollout_traced.Ended(*(x[i] for x in ended))))
            row |= summary.flatten("update", self._population, summary.by_member(update))
            row |= _costs(self._population, self.ledgers)
            row["env/not_finite"] = not_finite
            rows.append(row | {"time/iteration": seconds, "time/train_steps_per_second": steps / seconds})
        return members, rows

    def _iterations(
        self, members: MemberState, running: rollout_traced.Running, first: Array, count: Array
    ) -> tuple[MemberState, rollout_traced.Running, Any]:
        """`count` iterations, at most `at_once`; the metrics' leaves are [at_once, P]."""
        blank = jax.eval_shape(self._iteration, members, running, first)[2]
        buffers = jax.tree.map(lambda x: jnp.zeros((self.at_once, *x.shape), x.dtype), blank)

        def body(i: Array, carry: tuple) -> tuple:
            members, running, buffers = carry
            members, running, metrics = self._iteration(members, running, first + i)
            return members, running, jax.tree.map(lambda buffer, x: buffer.at[i].set(x), buffers, metrics)

        return jax.lax.fori_loop(0, count, body, (members, running, buffers))

    def _iteration(
        self, members: MemberState, running: rollout_traced.Running, iteration: Array
    ) -> tuple[MemberState, rollout_traced.Running, Any]:
        config, population = self._config, self._population
        progress = iteration.astype(jnp.float32) / config.iterations
        keys = self._teacher.spec.observation_keys if self._teacher and population.guided else ()
        running, rollout = rollout_traced.collect(
            self._env, population, config.ppo.rollout_length, members, running, keys
        )
        labels, queries, refused = self._label(members, rollout, progress, iteration)
        members, metrics = population.update_function(
            members, population.variants, rollout.transition, labels, progress
        )
        covered = queries if labels is None else jnp.sum(labels.valid, axis=(0, 2))
        costs = {"queries": queries, "covered": covered, "refused": refused}
        metrics |= costs | {"not_finite": jnp.sum(running.env.not_finite)}
        return members, running, (metrics, rollout.ended)

    def _label(
        self, members: MemberState, rollout: rollout_traced.Rollout, progress: Array, iteration: Array
    ) -> tuple[TeacherLabels | None, Array, Array]:
        population = self._population
        if not population.terms:
            nothing = jnp.zeros(len(population), jnp.int32)
            return None, nothing, nothing
        assert self._teacher is not None
        weight = jax.vmap(guidance_weight, in_axes=(0, 0, None))(members, population.variants, progress)
        return label_in_program(self._env, population, self._teacher, members, rollout, weight, iteration)

    def _charge(self, queries: np.ndarray, covered: np.ndarray, refused: np.ndarray) -> None:
        config = self._config
        for index in self._population.guided:
            sparse = index in self._population.sparse
            batch_size = min(config.teacher.batch_size, config.env.num_envs) if sparse else config.teacher.batch_size
            self.ledgers[index].charge(
                int(queries[index]), batch_size, covered=int(covered[index]), refused=int(refused[index])
            )

    def state_dict(self) -> rollout_traced.Running:
        return self._running

    def load_state_dict(self, state: rollout_traced.Running) -> None:
        self._running = state


def _costs(population: Population, ledgers: Sequence[Ledger]) -> Row:
    """What guidance has cost so far: all members together, and each guided one."""
    row = ledger_metrics(ledgers)
    for index in population.guided:
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
