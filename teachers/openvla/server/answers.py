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
    """Labels [B, A], with what is known of their tokens where there are any and they are asked for."""
    label = {"action": action, "std": std, "valid": np.ones(len(action), bool)}
    return {**label, **tokens._asdict()} if tokens is not None and fields["tokens_wanted"] else label


def score_answer(tokens: Tokens) -> Arrays:
    """Distributions along tokens that were given: there is no label."""
    nothing = np.zeros(tokens.tokens.shape, np.float32)
    return {"action": nothing, "std": nothing + 1, "valid": np.zeros(len(nothing), bool), **tokens._asdict()}
