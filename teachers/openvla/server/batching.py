"""Requests in the form that the network takes them: rows, chunks, random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def instructions_of(instruction: str | Sequence[str], batch: int) -> list[str]:
    """One instruction for each of B frames. Raises ValueError if a list has another length."""
    found = [instruction] * batch if isinstance(instruction, str) else list(instruction)
    if len(found) != batch:
        raise ValueError(f"{len(found)} instructions for {batch} frames: need one, or one each")
    return found


def chunks(batch: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows."""
    return (slice(start, min(start + size, batch)) for start in range(0, batch, size))


def uniform_numbers(shape: Sequence[int], seed: int) -> Tensor:
    """In [0, 1), float64, on the CPU: the same on every device and for every size of chunks."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sampling_temperature(samples: int, temperature: float | None) -> float | None:
    """None for greedy decoding. Raises ValueError if the two do not fit."""
    if samples < 1:
        raise ValueError(f"samples={samples}: need at least 1")
    if temperature is None:
        return None if samples == 1 else 1.0
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: need more than 0, or none for the most likely tokens")
    return float(temperature)
