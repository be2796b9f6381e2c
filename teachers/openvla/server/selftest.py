"""What a loaded model must pass before it answers: its answer depends on the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SMALLEST = 1e-4
"""Change of the logits, as a share of their spread."""


def check_image_matters(logits_of: Callable[[Tensor], Tensor], size: int) -> None:
    """Two images without anything in common must not give the same answer.

    Args:
      logits_of: frames [2, size, size, 3] uint8 -> [2, ...].
    Raises:
      ValueError: the answer is the same, or has no numbers. The weights or the assembly of the input are broken.
    """
    noise = torch.randint(0, 256, (size, size, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    first, second = logits_of(torch.stack([noise, 255 - noise // 2])).float()
    spread, change = float(first.std()), float((first - second).abs().max())
    if not change > _SMALLEST * spread:  # also where there are NaNs
        raise ValueError(f"self-test: two images change the logits by {change:.2g} of a spread of {spread:.2g}")
