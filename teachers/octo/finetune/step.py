"""One step of fine-tuning as a jitted program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rpd_jax.types import Array
from teachers.octo.finetune.augment import augment
from teachers.octo.finetune.data import Batch, with_instructions
from teachers.octo.finetune.optimizer import Params, combine, make_optimizer, make_schedule, partition
from teachers.octo.finetune.settings import FinetuneSettings

LossFunction = Callable[[Params, Batch, Array, bool], tuple[Array, dict[str, Array]]]
"""(parameters, batch, key, whether dropout is active) -> loss and further metrics."""
VALIDATION = 1  # what is folded into the seed's key for validation; training folds in the step


class TrainState(NamedTuple):
    """What a step changes."""

    params: Params  # the trainable ones
    opt_state: Any
    step: Array  # [] int32, steps done


class Trainer:
    """The programs of a run.

    Args:
      loss: of a batch.
      params: all parameters.
      settings: of the run.
      frozen: patterns of the parameters that are not trained.
      table: of the instructions, see `data.with_instructions`.
    """

    def __init__(
        self,
        loss: LossFunction,
        params: Params,
        settings: FinetuneSettings,
        frozen: Sequence[str] = (),
        table: Any = None,
    ) -> None:
        self._loss, self._settings, self._table = loss, settings, table
        trainable, self.frozen = partition(params, frozen)
        self._optimizer = make_optimizer(settings, trainable)
        self._schedule = make_schedule(settings)
        self._key = jax.random.key(settings.seed)
        # The first step would otherwise delete the caller's arrays.
        self._start = jax.tree.map(jnp.array, trainable)
        self._step = jax.jit(self._take_step, donate_argnums=0)
        self._validate = jax.jit(self._validation_loss)

    def init(self) -> TrainState:
        """The state before the first step; to be called once."""
        return TrainState(self._start, self._optimizer.init(self._start), jnp.zeros((), jnp.int32))

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        """Learns from a batch [B, ...]; what is random follows from the seed and the step. Consumes `state`.

        With accumulation the gradients of its parts are averaged, each with the loss's own normalisation.
        """
        return self._step(state, self.frozen, self._table, batch, self._key)

    def validate(self, state: TrainState, batch: Batch, number: int) -> Array:
        """The loss of a batch without augmentation; its random numbers follow from the seed and `number`."""
        key = jax.random.fold_in(jax.random.fold_in(self._key, VALIDATION), number)
        return self._validate(state.params, self.frozen, self._table, batch, key)

    def params(self, state: TrainState) -> Params:
        """All parameters."""
        return combine(state.params, self.frozen)

    def _take_step(
        self, state: TrainState, frozen: Params, table: Any, batch: Batch, key: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        parts = self._settings.accumulation
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 0), state.step), parts)

        def part_loss(params: Params, part: Batch, key: Array) -> tuple[Array, dict[str, Array]]:
            augment_key, loss_key = jax.random.split(key)
            if self._settings.augment.enabled:
                part = augment(part, augment_key, self._settings.augment)
            return self._loss(combine(params, frozen), with_instructions(part, table), loss_key, True)

        def gradient(part: Batch, key: Array) -> tuple[Params, dict[str, Array]]:
            (loss, metrics), grads = jax.value_and_grad(part_loss, has_aux=True)(state.params, part, key)
            return grads, {"loss": loss, **metrics}

        if parts == 1:
            grads, metrics = gradient(batch, keys[0])
        else:
            split = jax.tree.map(lambda x: x.reshape(parts, len(x) // parts, *x.shape[1:]), batch)

            def add(total: Params, part: tuple[Batch, Array]) -> tuple[Params, dict[str, Array]]:
                grads, metrics = gradient(*part)
                return jax.tree.map(jnp.add, total, grads), metrics

            total, metrics = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, state.params), (split, keys))
            grads = jax.tree.map(lambda g: g / parts, total)
            metrics = jax.tree.map(jnp.mean, metrics)
        updates, opt_state = self._optimizer.update(grads, state.opt_state, state.params)
        metrics |= {
            "grad_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            "param_norm": optax.tree.norm(state.params),
            "learning_rate": jnp.asarray(self._schedule(state.step)),
        }
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1), metrics

    def _validation_loss(self, params: Params, frozen: Params, table: Any, batch: Batch, key: Array) -> Array:
        loss, _ = self._loss(combine(params, frozen), with_instructions(batch, table), key, False)
        return loss
