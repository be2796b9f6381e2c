"""Labels of a rollout as part of a jitted program, for teachers that can be traced."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.guidance import queries, sparse
from rpd_jax.guidance.labeler import Askers, Labeler
from rpd_jax.guidance.labels import cut_short, label_member, no_labels
from rpd_jax.guidance.scores import no_scores, score_member, usable
from rpd_jax.types import Array, Observation, TeacherLabels, TokenScores, TokenTeacher

Draw = Callable[[Any, Array, str], Array]
"""Pictures uint8 [B, H, W, 3] of the environment states [B, ...] that the indices [B] name, by a camera's name."""


class Seen(NamedTuple):
    """What the teacher may be queried on: a rollout of every member."""

    starts: Array  # [T, P, N] bool: an episode begins with this observation
    age: Array  # [P, N] int32: steps that the episodes under way had lasted before the first step
    value: Array | None  # [T, P, N] of the students; None where they have no critic
    observation: Observation  # [T, P, N, ...], but for frames that are still to be drawn
    states: Any  # [T, P, N, ...] of the environment, where such frames are to be drawn; else None
    tokens: Array | None = None  # [T, P, N, A] of the students, whose scores are asked for; else None


class Labels(NamedTuple):
    """The targets of a rollout, and what they cost."""

    labels: TeacherLabels | TokenScores  # [T, P, N, ...]
    queries: Array  # [P] int32: teacher queries
    covered: Array  # [P] int32: steps with a target
    refused: Array  # [P] int32: answers that could not be used
    clipped: Array  # [P] int32: answers that were cut short


class TracedLabeler(Labeler):
    """Labels rollouts inside a program; `draw` makes the frames that a rollout's observations do not hold."""

    def __init__(self, *arguments: Any, draw: Draw, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._draw = draw

    def label(self, seen: Seen, weight: Array, calls: Array, iteration: Array, askers: Askers) -> Labels:
        """Labels each member in its way, densely or sparsely.

        One member after the other: each costs its own queries, and nothing once its guidance has ended.

        Args:
          seen: the rollout.
          weight: [P] of the members' distillation losses; where it is 0 there are no queries.
          calls: int [P], of an environment in this rollout, of the sparse members.
          iteration: of the run.
          askers: the population's with traced arrays, which may be those of some members.
        """
        kinds: list[Callable[..., Labels]] = [self._nothing]
        kind = jnp.zeros(len(weight), jnp.int32)
        wanted = (weight > 0) & (jnp.asarray(askers.dense) | (calls > 0))
        ways: list[tuple[Array, Callable[..., Labels]]] = []
        if self.askers.dense.any():
            ways.append((askers.dense, self._every_step))
        for actions in np.unique(self.askers.actions[self.askers.sparse]).tolist():
            ways.append((askers.sparse & (askers.actions == actions), functools.partial(self._some, actions)))
        for asks, way in ways:
            kind = jnp.where(jnp.asarray(asks) & wanted, len(kinds), kind)
            kinds.append(way)
        rollout = jax.tree.map(
            lambda x: jnp.moveaxis(x, 1, 0), seen._replace(age=seen.age[None])
        )  # members first, as lax.map wants them

        def one(inputs: tuple) -> Labels:
            kind, *arguments = inputs
            return jax.lax.switch(kind, kinds, *arguments, iteration)

        found = jax.lax.map(one, (kind, rollout, askers.guidance, calls, askers.seeds))
        return found._replace(labels=jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found.labels))

    def _missing(self, observation: Observation) -> list[str]:
        """The frames that the teacher reads and the observation lacks."""
        return [name for name in self.teacher.spec.observation_keys if name not in observation]

    def _nothing(self, seen: Seen, *unused: Any) -> Labels:
        zero = jnp.int32(0)
        if seen.tokens is not None and self.scores:
            return Labels(no_scores(seen.tokens.shape, self.teacher.spec.token_bins), zero, zero, zero, zero)
        return Labels(no_labels(seen.starts.shape, self.spec.action_dim), zero, zero, zero, zero)

    def _every_step(self, seen: Seen, guidance: Any, calls: Array, seed: Array, iteration: Array) -> Labels:
        observation = dict(seen.observation)
        if seen.states is not None:
            states = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen.states)
            for name in self._missing(observation):
                frames = self._draw(states, jnp.arange(seen.starts.size), name)
                observation[name] = frames.reshape(*seen.starts.shape, *frames.shape[1:])
        asked = jnp.int32(seen.starts.size)
        if seen.tokens is not None and self.scores:
            teacher = cast(TokenTeacher, self.teacher)
            scores = score_member(teacher, self.instructions, observation, seen.starts, seen.tokens, self.batch_size)
            covered = jnp.sum(usable(scores))
            return Labels(scores, asked, covered, asked - covered, jnp.int32(0))
        labels = label_member(
            self.teacher, self.instructions, observation, seen.starts, seed, iteration, self.batch_size
        )
        return Labels(labels, asked, jnp.sum(labels.valid), jnp.sum(~labels.valid), jnp.sum(cut_short(labels)))

    def _some(self, actions: int, seen: Seen, guidance: Any, calls: Array, seed: Array, iteration: Array) -> Labels:
        num_envs = seen.starts.shape[1]
        value = jnp.zeros(seen.starts.shape) if seen.value is None else seen.value
        key = queries.query_key(seed, iteration)
        where = queries.plan(key, guidance, calls, seen.starts, value, seen.age[0], self.askers.strategies)

        def see(t: Array, n: Array) -> Observation:
            shown = {key: x[t, n] for key, x in seen.observation.items()}
            if seen.states is not None:
                states = jax.tree.map(lambda x: x[t, n], seen.states)
                shown |= {
                    name: self._draw(states, jnp.arange(self.sparse_batch), name) for name in self._missing(shown)
                }
            return shown

        answers = sparse.ask_in_graph(
            self.teacher,
            self.instructions,
            see,
            where,
            seed,
            iteration,
            self.sparse_batch,
            self.askers.most_calls * num_envs,
            self.spec.action_dim,
            actions,
        )
        targets = sparse.targets(answers, where, seen.starts, guidance, self.contracts(actions))
        return Labels(targets, jnp.sum(where), jnp.sum(targets.valid), *sparse.cost(answers, where))
