"""Action tokens: 256 ids at the end of the tokenizer's vocabulary, the larger the smaller the action.

255 intervals between 256 edges in [-1, 1]; a token stands for the centre of its interval. The first two ids both stand
for the last interval (the first of them is that of exactly +1).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class ActionTokens:
    vocabulary: int = 32000  # tokens of the tokenizer, without padding rows
    bins: int = 256

    @property
    def columns(self) -> slice:
        """Of the logits: ids 31744 to 31999."""
        return slice(self.vocabulary - self.bins, self.vocabulary)

    @functools.cached_property
    def centers(self) -> np.ndarray:
        """[bins - 1] float64, rising."""
        edges = np.linspace(-1.0, 1.0, self.bins)
        return (edges[:-1] + edges[1:]) / 2

    @functools.cached_property
    def column_values(self) -> np.ndarray:
        """[bins] float64: what the token of each column stands for; falling, the first two alike."""
        return self.decode(np.arange(self.columns.start, self.columns.stop))

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Normalised actions [...] -> ids [...] int64; beyond [-1, 1] they are clipped."""
        edges = np.linspace(-1.0, 1.0, self.bins)
        return self.vocabulary - np.digitize(np.clip(actions, -1.0, 1.0), edges)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Ids [...] -> normalised actions [...] float64. Raises ValueError if one is no action token."""
        tokens = np.asarray(tokens)
        self.check(tokens)
        return self.centers[np.clip(self.vocabulary - tokens - 1, 0, self.bins - 2)]

    def check(self, tokens: np.ndarray) -> None:
        """Raises ValueError, with their number and an example, if some ids are no action tokens."""
        wrong = (tokens < self.columns.start) | (tokens >= self.columns.stop)
        if wrong.any():
            first = np.argwhere(wrong)[0]
            raise ValueError(
                f"{int(wrong.sum())} of {tokens.size} tokens are no action tokens, the first is {tokens[tuple(first)]} "
                f"at {first.tolist()}: need ids from {self.columns.start} to {self.columns.stop - 1}"
            )

    def moments(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the normalised action under the distribution over action tokens.

        Args:
          logits: [..., bins] of the action columns.
        Returns:
          Two of [...], float64.
        """
        values = torch.as_tensor(self.column_values, device=logits.device)
        p = logits.double().softmax(-1)
        mean = (p * values).sum(-1)
        return mean, (p * (values - mean[..., None]) ** 2).sum(-1)


def token_statistics(logits: Tensor, columns: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probability of tokens and entropy of their distributions, among the columns given.

    Args:
      logits: [..., bins].
      columns: [...] int64: token less the first action token.
      temperature: divides the logits, in both.
    Returns:
      Two of [...], float32.
    """
    logs = (logits.float() / temperature).log_softmax(-1)
    return logs.gather(-1, columns[..., None])[..., 0], -(logs.exp() * logs).sum(-1)
