"""Octo's training loss on a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.octo.heads import HEADS
from teachers.octo.network import OctoModule, applied


def batch_loss(
    module: OctoModule, params: Mapping[str, Any], batch: Mapping[str, Any], key: Array, *, train: bool = True
) -> tuple[Array, dict[str, Array]]:
    """The sum of all heads' losses.

    Args:
      module: the network.
      params: its parameters.
      batch: `observation`, `task` (see `OctoModule.transform`), `action` [B, W, H, A] normalised, and
        `action_pad_mask` bool of the same shape (True: counts).
      key: of dropout and of what a head draws.
      train: whether dropout is active.
    Returns:
      the loss, and each head's as metrics.
    """
    draw_key, dropout_key = jax.random.split(key)
    batch_size, window = batch["observation"]["timestep_pad_mask"].shape
    draws = {}
    for index, (name, head) in enumerate(module.config.heads):
        draw = type(HEADS[head.kind].module(head)).draws
        draws[name] = draw(head, jax.random.fold_in(draw_key, index), batch_size, window)
    return loss_with_draws(module, params, batch, draws, dropout_key if train else None)


def loss_with_draws(
    module: OctoModule,
    params: Mapping[str, Any],
    batch: Mapping[str, Any],
    draws: Mapping[str, Mapping[str, Array]],
    dropout_key: Array | None = None,
) -> tuple[Array, dict[str, Array]]:
    """`batch_loss` with the heads' random numbers given: head name -> keywords of its `loss`."""
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    return applied(module, params, batch, draws, dropout_key is None, method=_loss, rngs=rngs)


def _loss(
    module: OctoModule, batch: Mapping[str, Any], draws: Mapping[str, Mapping[str, Array]], deterministic: bool
) -> tuple[Array, dict[str, Array]]:
    groups = module.transform(batch["observation"], batch["task"], deterministic)
    real = jnp.asarray(batch["observation"]["timestep_pad_mask"]).astype(bool)[:, :, None, None]
    mask = jnp.asarray(batch["action_pad_mask"]).astype(bool)
    mask = mask & jnp.broadcast_to(real, mask.shape)
    metrics = {
        f"loss_{name}": module.head_loss(name, groups, batch["action"], mask, deterministic, draws[name])
        for name, _ in module.config.heads
    }
    return jnp.asarray(sum(metrics.values())), metrics
