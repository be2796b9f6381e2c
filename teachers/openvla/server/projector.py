"""Projectors into the language model's embedding space."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F


class MLPProjector(nn.Module):
    """Linear layers fc1, fc2, ... with exact GELUs in between: [..., sizes[0]] -> [..., sizes[-1]]."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.count = len(sizes) - 1
        for index, (before, after) in enumerate(itertools.pairwise(sizes), start=1):
            self.add_module(f"fc{index}", nn.Linear(before, after))

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, self.count + 1):
            x = self.get_submodule(f"fc{index}")(x)
            x = F.gelu(x) if index < self.count else x
        return x


def vision_projector(features: int, towers: int, hidden: int) -> MLPProjector:
    """Patch features -> embeddings: three layers after fused towers, two after a single one."""
    return (
        MLPProjector(features, 4 * features, hidden, hidden) if towers == 2 else MLPProjector(features, hidden, hidden)
    )
