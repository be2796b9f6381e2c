"""A teacher whose replicas run on a Ray cluster, seen from the learner."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.config.teacher import RayPlacement, TeacherConfig
from rpd_jax.envs.base import EnvSpec
from rpd_jax.instructions import Instructions, as_instructions
from rpd_jax.types import Array, Observation, TeacherLabels, TokenLabels, TokenScores
from teachers.cluster.connection import connected
from teachers.cluster.pool import Pool
from teachers.cluster.replica import Key, Recipe
from teachers.parts import parts


class RayTeacher:
    """Labels by replicas of a teacher, which may be on other machines.

    A call is one request, or one for each part that the teacher itself would make of it (`teachers.parts`); each goes
    to the replica that has least to do. No call is divided otherwise, since the draws of a batch depend on its
    size: replicas then share the batches of all members. So labels are those of the same teacher in this process,
    whatever the number of replicas and whichever are lost, to the bit on processors of one kind.

    Use it from one thread at a time.
    """

    def __init__(self, env_spec: EnvSpec | None, settings: TeacherConfig) -> None:
        """Connects to the cluster, or starts one on this machine, and waits until all replicas are ready.

        Args:
          env_spec: of the environment whose transitions are labelled; None: there is none.
          settings: of the teacher; `settings.ray` says where its replicas are.

        Raises:
          ConfigError: Ray is missing, or there is no such cluster.
          TeacherError: a replica cannot be made.
        """
        values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
        recipe = Recipe(
            settings.factory, type(settings), values | {"placement": "local", "ray": RayPlacement()}, env_spec
        )
        self._stack = contextlib.ExitStack()
        try:
            ray = self._stack.enter_context(connected(settings.ray))
            self._pool = Pool(ray, recipe, settings.ray)
            self._stack.callback(self._pool.close)
        except BaseException:
            self.close()
            raise
        account = self._pool.account
        self.rows, self.whole_batches = account.rows, account.whole_batches
        self.spec = dataclasses.replace(account.spec, in_graph=False)

    def label(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """Labels a batch; numpy arrays. Raises TeacherError where the teacher raised, or no replica is left."""
        return self.begin(observation, instructions, key)()

    def begin(
        self, observation: Observation, instructions: Instructions | str, key: Array
    ) -> Callable[[], TeacherLabels]:
        """Begins to label a batch and returns a function that waits for the labels.

        The observations must not change until then. See `label`.
        """
        return self._begin("label", observation, instructions, key)

    def label_chunk(self, observation: Observation, instructions: Instructions | str, key: Array) -> TeacherLabels:
        """See `rpd_jax.types.ChunkTeacher`; raises what `label` does."""
        return self._begin("label_chunk", observation, instructions, key)()

    def label_tokens(self, observation: Observation, instructions: Instructions | str, key: Array) -> TokenLabels:
        """See `rpd_jax.types.TokenTeacher`; raises what `label` does."""
        return self._begin("label_tokens", observation, instructions, key)()

    def score(self, observation: Observation, instructions: Instructions | str, tokens: Array) -> TokenScores:
        """See `rpd_jax.types.TokenTeacher`; raises what `label` does."""
        return self.begin_score(observation, instructions, tokens)()

    def begin_score(
        self, observation: Observation, instructions: Instructions | str, tokens: Array
    ) -> Callable[[], TokenScores]:
        """Begins to score a batch and returns a function that waits for the scores; see `begin` and `score`."""
        return self._begin("score", observation, instructions, None, np.asarray(tokens))

    def poll(self) -> None:
        """Takes the answers that are there and sends what waits, without waiting."""
        self._pool.poll()

    def metrics(self) -> dict[str, float]:
        """Replicas that are there, were lost, and had requests sent again; and the teachers' own counters, summed."""
        return self._pool.metrics()

    def close(self) -> None:
        """Ends the replicas, and the Ray that was started for them. Idempotent."""
        self._stack.close()

    def __enter__(self) -> RayTeacher:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _begin(
        self,
        method: str,
        observation: Observation,
        instructions: Instructions | str,
        key: Array | None,
        tokens: np.ndarray | None = None,
    ) -> Callable[[], Any]:
        """Requests for all parts of a call: with the key of each, or with its tokens."""
        inputs = {name: np.asarray(observation[name]) for name in self.spec.observation_keys}
        size = len(next(iter(inputs.values())))
        said = as_instructions(instructions, size)
        index = np.asarray(said.index)
        requests = [
            self._pool.submit(
                method,
                (
                    {name: x[rows] for name, x in inputs.items()},
                    Instructions(said.texts, index[rows]),
                    _plain(own) if tokens is None else tokens[rows],
                ),
            )
            for rows, own in parts(size, self.rows, jax.random.key(0) if key is None else key)
        ]

        def wait() -> Any:
            results = self._pool.finish(requests)
            return jax.tree.map(lambda *leaves: np.concatenate(leaves), *results)

        return wait


def _plain(key: Array) -> Key:
    """A key as data; one of the old kind, without a type of its own, becomes a typed one with the same draws."""
    key = jnp.asarray(key)
    typed = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    return Key(np.asarray(jax.random.key_data(typed)), str(jax.random.key_impl(typed)))
