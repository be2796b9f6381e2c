"""One pass for a whole chunk: placeholders behind the prompt, every token sees every other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from teachers.openvla.server.language import bidirectional_mask, pad, positions_of
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.prompts import EOS


def chunk_hidden(model: OpenVLA, images: Tensor, ids: Sequence[Sequence[int]], placeholders: Tensor) -> Tensor:
    """Hidden states that predict a chunk's elements, after the final norm.

    Args:
      images: [B, M, D]: patches, then the token of the robot's state and of the diffusion step, if there are any.
      ids: B prompts, each from BOS to its last token.
      placeholders: [B, K * A, D]: zeros, or projected noisy actions.
    Returns:
      [B, K * A, D]: read from one token earlier than the placeholders, the first at the prompt's last token.
    """
    stop = model.language_model.embed(torch.tensor([EOS], device=images.device))[None].expand(len(images), -1, -1)
    tails = torch.cat([placeholders.to(stop.dtype), stop], dim=1)
    embeddings, valid, lengths = pad(model.sequences(images, ids, tails), "right")
    if valid is None:
        valid = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
    # The mask is always given: without one the language model would be causal.
    mask = bidirectional_mask(valid, model.dtype)
    hidden = model.language_model.hidden(embeddings, mask, positions_of(valid))
    count = placeholders.shape[1]
    where = (lengths - count - 2)[:, None] + torch.arange(count, device=hidden.device)
    return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], where]


def mean_embedding(model: OpenVLA, ids: Sequence[Sequence[int]]) -> Tensor:
    """[B, D]: of the prompt with BOS and the stop token, for FiLM."""
    rows = [(*each, EOS) for each in ids]
    return torch.stack([each.mean(0) for each in model.embed_text(rows)])
