"""The arrays of an answer, see `teachers.sidecar.server`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]


class Tokens(NamedTuple):
    """Action tokens, counted from the first of them in the vocabulary, and the distributions that they belong to."""

    tokens: np.ndarray  # [B, A] integers
    logits: np.ndarray  # [B, A, bins] float32
    logsumexp: np.ndarray  # [B, A] float32


def label_answer(action: np.ndarray, std: np.ndarray, tokens: Tokens | None, fields: Mapping[str, Any]) -> Arrays:
    """Labels [B, A], or [B, C, A] of chunks, with what is known of their tokens where there are any, if asked for."""
    label = {"action": action, "std": std, "valid": np.ones(action.shape[:-1], bool)}
    return {**label, **tokens._asdict()} if tokens is not None and fields["tokens_wanted"] else label


def score_answer(tokens: Tokens, label_shape: tuple[int, ...]) -> Arrays:
    """Distributions along tokens that were given: there is no label, whose action would have that shape."""
    nothing = np.zeros(label_shape, np.float32)
    return {"action": nothing, "std": nothing + 1, "valid": np.zeros(label_shape[:-1], bool), **tokens._asdict()}
