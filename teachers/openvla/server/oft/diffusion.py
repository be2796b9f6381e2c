"""DDIM on the cosine schedule, as OpenVLA-OFT's diffusion head is sampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from teachers.openvla.server.oft.settings import TRAINING_STEPS

_LARGEST_BETA = 0.999


def cumulative_alphas(steps: int = TRAINING_STEPS) -> Tensor:
    """[steps] float64: share of the signal's variance after each step of noise."""

    def remaining(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - remaining((i + 1) / steps) / remaining(i / steps), _LARGEST_BETA) for i in range(steps)]
    return (1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0)


def timesteps(steps: int) -> list[int]:
    """Of an answer in so many steps, falling to 0."""
    return [index * (TRAINING_STEPS // steps) for index in reversed(range(steps))]


def timestep_embedding(timestep: int, dim: int) -> Tensor:
    """[dim] float32: sines, then cosines, of falling frequencies."""
    half = dim // 2
    angles = timestep * torch.exp(-math.log(1e4) * torch.arange(half, dtype=torch.float32) / (half - 1))
    return torch.cat([angles.sin(), angles.cos()])


def denoise(predict: Callable[[Tensor, int], Tensor], noise: Tensor, steps: int) -> Iterator[Tensor]:
    """The chunk after every step, without randomness.

    Args:
      predict: (chunk [B, K, A], timestep) -> its noise [B, K, A].
      noise: [B, K, A] float32, what to start from.
      steps: 1 to TRAINING_STEPS.
    """
    alphas = cumulative_alphas().tolist()
    x = noise
    for t in timesteps(steps):
        previous = t - TRAINING_STEPS // steps
        now, then = alphas[t], alphas[previous] if previous >= 0 else 1.0
        epsilon = predict(x, t).float()
        clean = ((x - math.sqrt(1 - now) * epsilon) / math.sqrt(now)).clamp(-1, 1)
        x = math.sqrt(then) * clean + math.sqrt(1 - then) * epsilon
        yield x
