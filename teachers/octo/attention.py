"""The attention mask of Octo's sequence of token groups.

The sequence is the prefix groups (the task), then for every time step all time-step groups (observations, the
repeated task, readouts).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import chex
import jax.numpy as jnp
import numpy as np

from rpd_jax.types import Array

PREFIX_TIME = -1


class TokenGroup(NamedTuple):
    """Tokens that belong together, and which of them are real."""

    tokens: Array  # prefix [B, n, D], time step [B, W, n, D]
    mask: Array  # bool, without the last axis


class Layout(NamedTuple):
    """Names and numbers of tokens of the groups, in order."""

    prefix: tuple[tuple[str, int], ...]
    timestep: tuple[tuple[str, int], ...]
    window: int


def may_attend(query: str, key: str) -> bool:
    """Whether tokens of a group may look at those of another group, as far as they are not in the future."""
    if query.startswith("task_"):
        return key.startswith("task_")
    if query.startswith("obs_"):
        return key.startswith(("task_", "obs_"))
    return key.startswith(("task_", "obs_")) or key == query  # a readout sees its own kind only


def attention_rules(layout: Layout, *, correct: bool = True) -> np.ndarray:
    """The rules between groups, bool [N, N] as [query, key]; padding is not part of it.

    Args:
      layout: of the sequence.
      correct: False repeats the off-by-one of the models of December 2023, in which the first token of each group
        but the first counts as one of the group before it.
    """
    names = [name for name, _ in (*layout.prefix, *layout.timestep)]
    allowed = np.array([[may_attend(query, key) for key in names] for query in names], bool)
    owner, time = _owners(layout, "right" if correct else "left")
    return allowed[owner[:, None], owner[None, :]] & (time[None, :] <= time[:, None])


def _owners(layout: Layout, side: Literal["left", "right"]) -> tuple[np.ndarray, np.ndarray]:
    """Group index and time step of every token, each [N]."""
    owners, times = [], []
    first = 0
    for groups, steps in ((layout.prefix, [PREFIX_TIME]), (layout.timestep, range(layout.window))):
        ends = np.cumsum([count for _, count in groups]).astype(int)
        total = int(ends[-1]) if len(ends) else 0
        owner = first + np.searchsorted(ends, np.arange(total), side=side)
        for step in steps:
            owners.append(owner)
            times.append(np.full(total, step))
        first += len(groups)
    return np.concatenate(owners), np.concatenate(times)


def attention_mask(rules: np.ndarray, token_mask: Array) -> Array:
    """Rules [N, N] and the tokens that are real, bool [B, N] -> bool [B, 1, N, N]; rows are never masked."""
    chex.assert_shape(token_mask, (None, rules.shape[0]))
    shape = (token_mask.shape[0], 1, *rules.shape)
    return jnp.broadcast_to(rules[None, None], shape) & jnp.broadcast_to(token_mask[:, None, None, :], shape)


def assemble(prefix: list[TokenGroup], timestep: list[TokenGroup]) -> TokenGroup:
    """One sequence [B, N, D] of all groups."""
    parts_t = [jnp.concatenate([getattr(g, f) for g in timestep], axis=2) for f in TokenGroup._fields]
    flat = [x.reshape(x.shape[0], -1, *x.shape[3:]) for x in parts_t]
    whole = [
        jnp.concatenate([*(getattr(g, f) for g in prefix), x], axis=1)
        for f, x in zip(TokenGroup._fields, flat, strict=True)
    ]
    return TokenGroup(*whole)


def split(sequence: Array, layout: Layout) -> dict[str, Array]:
    """The inverse of `assemble`: [B, N, D] -> name -> [B, n, D] or [B, W, n, D]."""
    found, start = {}, 0
    for name, count in layout.prefix:
        found[name] = sequence[:, start : start + count]
        start += count
    steps = sequence[:, start:].reshape(sequence.shape[0], layout.window, -1, sequence.shape[-1])
    start = 0
    for name, count in layout.timestep:
        found[name] = steps[:, :, start : start + count]
        start += count
    return found
