"""How a call of a teacher is divided into requests whose answers do not depend on who gets which."""

from __future__ import annotations

import jax

from rpd_jax.types import Array


def parts(size: int, rows: int | None, key: Array) -> list[tuple[slice, Array]]:
    """The rows and the key of each part of a call.

    A part is divided no further: so whoever divides again, by the same `rows`, gets what it was given.

    Args:
      size: observations of the call.
      rows: observations of a part, at most; None: the call is not divided.
      key: of the call.

    Returns:
      at least one part; of several, each has a key of its own.
    """
    if rows is None or size <= rows:
        return [(slice(0, size), key)]
    begins = range(0, size, rows)
    return [
        (slice(begin, min(begin + rows, size)), own)
        for begin, own in zip(begins, jax.random.split(key, len(begins)), strict=True)
    ]
