"""What people look at while a student is distilled: sums over tokens that count, and their means over all processes."""

from __future__ import annotations

import torch
from torch import Tensor

from teachers.openvla.opd.losses import forward_kl, reverse_kl

PARTS = {"x": (0,), "y": (1,), "z": (2,), "rotation": (3, 4, 5), "gripper": (6,)}
"""Of an action, by dimension."""


@torch.no_grad()
def token_sums(
    log_probs: Tensor,
    teacher_log_probs: Tensor,
    ratio: Tensor | None,
    mask: Tensor,
    dims: int,
    clip: tuple[float, float],
) -> dict[str, Tensor]:
    """Sums over tokens, and how many they are.

    Args:
      log_probs, teacher_log_probs: [B, K, bins].
      ratio: [B, K] of new to old probability, where there is one.
      mask: [B, K] bool.
      dims: A, dimensions of an action; K is a multiple.
      clip: the bounds of the ratio.
    """
    valid = mask.double()
    kl = reverse_kl(log_probs, teacher_log_probs)
    found = {
        "tokens": valid.sum(),
        "reverse_kl": (kl * valid).sum(),
        "forward_kl": (forward_kl(log_probs, teacher_log_probs) * valid).sum(),
        "student_entropy": (_entropy(log_probs) * valid).sum(),
        "teacher_entropy": (_entropy(teacher_log_probs) * valid).sum(),
        "clipped_share": valid.new_zeros(()),
    }
    if ratio is not None:
        found["clipped_share"] = (((ratio < clip[0]) | (ratio > clip[1])) * valid).sum()
    along = (kl * valid).unflatten(1, (-1, dims)).sum((0, 1))
    counts = valid.unflatten(1, (-1, dims)).sum((0, 1))
    for name, where in PARTS.items():
        found[f"kl_{name}"] = along[list(where)].sum()
        found[f"tokens_{name}"] = counts[list(where)].sum()
    return found


def means(sums: dict[str, float]) -> dict[str, float]:
    """Of the sums of all processes."""
    found = {}
    for name, total in sums.items():
        if not name.startswith("tokens"):
            part = name.removeprefix("kl_")
            found[name] = total / max(1.0, sums[f"tokens_{part}" if part in PARTS else "tokens"])
    return found


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(-1)
