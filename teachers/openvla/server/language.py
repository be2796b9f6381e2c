"""The language model: transformers' Llama with explicit masks and positions, and its output columns."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaModel, LlamaRotaryEmbedding

# Renamed in transformers 5; the old name goes in 5.40.
_CACHE = "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"


class Padded(NamedTuple):
    """Sequences of different lengths in one array."""

    embeddings: Tensor  # [B, N, D], zero on pads
    valid: Tensor | None  # [B, N] bool; None if nothing is padded
    lengths: Tensor  # [B]


class Language(nn.Module):
    """Llama and its output matrix, named as on disk (`model.*`, `lm_head.weight`)."""

    def __init__(self, text: Mapping[str, Any]) -> None:
        super().__init__()
        # The stored configuration lists what differs from LlamaConfig's defaults, an rms_norm_eps of 1e-6 among them.
        self.config = LlamaConfig(**text, attn_implementation="sdpa")
        self.model = LlamaModel(self.config)
        self.lm_head = nn.Linear(self.config.hidden_size, self.config.vocab_size, bias=False)

    def restore_buffers(self, device: torch.device) -> None:
        """Recomputes what checkpoints do not hold, after the parameters were assigned to a model without storage."""
        with torch.device(device):
            self.model.rotary_emb = LlamaRotaryEmbedding(self.config)

    def recompute_activations(self) -> None:
        """Keeps only the layers' inputs for the gradient, and computes the rest twice."""
        model = self.model
        # Renamed in transformers 5; the old name goes in 6.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        self.model.train()  # transformers recomputes in this mode only; there is no dropout that it would turn on

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.embed_tokens(ids)

    def hidden(
        self, embeddings: Tensor, mask: Tensor | None, positions: Tensor | None, cache: DynamicCache | None = None
    ) -> Tensor:
        """Last hidden states after the final norm.

        Args:
          embeddings: [B, N, D].
          mask: [B, 1, N or 1, keys], added to the attention scores; None: causal without padding.
          positions: [B, N]; None: counted on from the cache.
          cache: keys and values of earlier tokens, extended in place.
        Returns:
          [B, N, D]
        """
        # Without a mask transformers might read packed sequences out of positions: they are given with a mask only.
        given: dict[str, Any] = {_CACHE: cache, **({} if positions is None else {"position_ids": positions})}
        return self.model(
            inputs_embeds=embeddings, attention_mask=mask, use_cache=cache is not None, **given
        ).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., vocabulary with its padding], float32."""
        return self.lm_head(hidden).float()


def additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """True -> 0, False -> the lowest finite number: a row without any key gives numbers, not NaNs."""
    lowest = torch.finfo(dtype).min
    return torch.where(allowed, torch.zeros((), dtype=dtype, device=allowed.device), lowest).to(dtype)


def causal_mask(valid: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """[B, N] bool -> [B, 1, N, N]: every token sees valid ones up to itself. None stays None."""
    if valid is None:
        return None
    length = valid.shape[1]
    order = torch.ones(length, length, dtype=torch.bool, device=valid.device).tril()
    return additive(order[None, None] & valid[:, None, None, :], dtype)


def bidirectional_mask(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, N] bool -> [B, 1, N, N]: every token sees all valid ones."""
    batch, length = valid.shape
    return additive(valid[:, None, None, :].expand(batch, 1, length, length), dtype)


def pad(sequences: list[Tensor], side: str) -> Padded:
    """Pads embeddings [N_i, D] to one length.

    Args:
      sequences: at least one.
      side: "left" (for decoding: all end together) or "right".
    """
    lengths = torch.tensor([len(each) for each in sequences], device=sequences[0].device)
    longest = max(len(each) for each in sequences)
    if all(len(each) == longest for each in sequences):
        return Padded(torch.stack(sequences), None, lengths)
    embeddings = sequences[0].new_zeros(len(sequences), longest, sequences[0].shape[1])
    valid = torch.zeros(len(sequences), longest, dtype=torch.bool, device=embeddings.device)
    for row, each in enumerate(sequences):
        where = slice(longest - len(each), longest) if side == "left" else slice(0, len(each))
        embeddings[row, where] = each
        valid[row, where] = True
    return Padded(embeddings, valid, lengths)


def positions_of(valid: Tensor | None) -> Tensor | None:
    """[B, N]: 0, 1, ... along the valid tokens, and 0 on pads before them."""
    return None if valid is None else (valid.long().cumsum(1) - 1).clamp(min=0)
