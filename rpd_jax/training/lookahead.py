"""What learning needs to know of the true next observation of each step of a rollout, e.g. its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rpd_jax.types import Array, Transition


def with_next(transition: Transition, last: Mapping[str, Array], xp: Any) -> Transition:
    """Fills in what look-ahead gives at each step of a rollout [T, P, N, ...]: that of the following step.

    Where an episode ended "next_" entries hold the final observation's already; `last` [P, N, ...] is that of the
    observation after the last step. `xp` is numpy or jax.numpy.
    """
    is_end = transition.terminated | transition.truncated
    extras = dict(transition.extras)
    for name, after in last.items():
        following = xp.concatenate([extras[name][1:], after[None]])
        ends = is_end.reshape(*is_end.shape, *(1,) * (following.ndim - is_end.ndim))
        extras[f"next_{name}"] = xp.where(ends, extras[f"next_{name}"], following)
    return transition._replace(extras=extras)
