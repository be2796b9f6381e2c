"""Random keys: a stream of its own for each purpose, so that no two draws share their bits.

`jax.random.fold_in(key, i)` and `jax.random.split(key)[i]` are the same key, and two users of one key draw the same.
Hence the rule: a key that is split is not folded into, and whatever is drawn for a seed begins with `stream`.
"""

from __future__ import annotations

import zlib

import chex
import jax


def stream(seed: chex.Numeric, purpose: str) -> chex.PRNGKey:
    """The key of everything that is drawn for `purpose`, e.g. "labels"; other purposes of the seed have other keys."""
    return key_stream(jax.random.key(seed), purpose)


def key_stream(key: chex.PRNGKey, purpose: str) -> chex.PRNGKey:
    """The same of a key: the key of everything that is drawn from it for `purpose`."""
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))
