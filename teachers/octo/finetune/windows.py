"""From time steps of episodes to training windows: which frames, which actions, which goal.

An episode has L actions and L + 1 frames; frame L shows what the last action led to. A window at step t < L has the W
frames up to t, and for each of them the H actions that follow. Everything is vectorised over a batch of windows, and
random only through the generator that is passed in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OFFICIAL_DELAY = 2


class Goals(NamedTuple):
    """What windows are conditioned on."""

    frame: np.ndarray  # [B] frame of the episode that is the goal; its last one where an instruction is used
    is_image: np.ndarray  # [B] bool: the goal image is kept, and not the instruction


def history(t: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """The frames t-W+1..t, oldest first.

    Args:
      t: [B] time steps.
      window: W.
    Returns:
      Frame numbers [B, W], those before the episode replaced by 0, and a mask [B, W], False where that was done.
    """
    frames = t[:, None] + np.arange(1 - window, 1)[None]
    return np.maximum(frames, 0), frames >= 0


def actions(t: np.ndarray, length: np.ndarray, window: int, horizon: int) -> np.ndarray:
    """Numbers [B, W, H] of the actions that follow each frame; after the last action of the episode, the last one.

    Args:
      t: [B] time steps.
      length: [B] actions of the episodes, L.
    """
    return np.clip(_uncut(t, window, horizon), 0, length[:, None, None] - 1)


def completed(t: np.ndarray, goal: np.ndarray, window: int, horizon: int, official: bool = True) -> np.ndarray:
    """Which actions [B, W, H] lie past the goal, and are not learned.

    Action k leads from frame k to frame k + 1, so from action k = goal on the goal has been reached. The official code
    is off by two (it subtracts the window twice) and also learns the actions goal and goal + 1.

    Args:
      t: [B] time steps.
      goal: [B] frame of the goal.
      official: whether to be off by two.
    """
    return _uncut(t, window, horizon) - OFFICIAL_DELAY * official >= goal[:, None, None]


def draw_goals(
    rng: np.random.Generator,
    t: np.ndarray,
    length: np.ndarray,
    has_instruction: np.ndarray,
    modality: str,
    keep_image: float = 0.5,
) -> Goals:
    """Draws for each window what it is conditioned on.

    A goal image is a frame drawn uniformly from t..L. "multimodal" keeps it with probability `keep_image` and otherwise
    the instruction; where there is no instruction, and under "image_conditioned", always; under
    "language_conditioned", never.

    Args:
      t: [B] time steps.
      length: [B] actions of the episodes, L.
      has_instruction: [B] bool.
    """
    probability = {"image_conditioned": 1.0, "language_conditioned": 0.0, "multimodal": keep_image}[modality]
    goal = rng.integers(t, length, endpoint=True)
    is_image = rng.random(len(t)) < probability
    if modality == "multimodal":
        is_image |= ~has_instruction
    return Goals(np.where(is_image, goal, length), is_image)


def _uncut(t: np.ndarray, window: int, horizon: int) -> np.ndarray:
    """t - (W-1) + w + h as [B, W, H]."""
    offset = np.arange(1 - window, 1)[:, None] + np.arange(horizon)[None]
    return t[:, None, None] + offset[None]
