"""How a call of a teacher is divided into requests whose answers do not depend on who gets which."""

from __future__ import annotations

import jax

from rpd_jax.types import Array


def parts(size: int, rows: int | None, key: Array) -> list[tuple[slice, Array]]:
    """The rows and the key of each part of a call.

    A part is divided no further: so whoever divides again, by the same `rows`, gets what it was given. The first part's
    key is the call's: its answer is the same alone and in a longer call.

    Args:
      size: observations of the call.
      rows: observations of a part, at most; None: the call is not divided.
      key: of the call.

    Returns:
      at least one part, each with a key of its own.
    """
    rows = rows or max(size, 1)
    begins = range(0, max(size, 1), rows)
    return [
        (slice(begin, min(begin + rows, size)), jax.random.fold_in(key, number) if number else key)
        for number, begin in enumerate(begins)
    ]
