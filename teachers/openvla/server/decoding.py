"""From prompts to action tokens, one by one, and the scoring of given ones in a single pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from teachers.openvla.server.action_tokens import ActionTokens
from teachers.openvla.server.language import causal_mask, pad, positions_of
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.stepping import Growing, Stepping


class Decoded(NamedTuple):
    """Tokens that were chosen and the distributions they were chosen from; K samples of every row."""

    tokens: Tensor  # [B, K, A]
    action_logits: Tensor  # [B, K, A, bins] float32
    logsumexp: Tensor  # [B, K, A] float32, over all columns
    most_likely: Tensor  # [B, K, A]: of all columns


class Scored(NamedTuple):
    """The distributions that given tokens would have been chosen from."""

    action_logits: Tensor  # [B, A, bins] float32
    logsumexp: Tensor  # [B, A] float32, over all columns


def choose(logits: Tensor, uniform: Tensor | None, temperature: float) -> Tensor:
    """The most likely column, or some drawn by inverting the cumulative distribution.

    Args:
      logits: [B, V].
      uniform: [B, K] in [0, 1); None: the most likely, K = 1.
      temperature: divides the logits.
    Returns:
      [B, K]
    """
    if uniform is None:
        return logits.argmax(-1, keepdim=True)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    point = uniform.double() * cumulative[:, -1:]
    return torch.searchsorted(cumulative, point, right=True).clamp(max=logits.shape[-1] - 1)


def decode(
    model: OpenVLA,
    images: Tensor,
    ids: Sequence[Sequence[int]],
    tokens: ActionTokens,
    steps: int,
    *,
    uniform: Tensor | None = None,
    temperature: float = 1.0,
    restrict: bool = True,
    stepping: Stepping | None = None,
) -> Decoded:
    """Exactly `steps` tokens for every prompt; prompts may differ in length.

    Args:
      images: [B, M, D] from `OpenVLA.embed_images`.
      ids: B prompts, each from BOS to its last token.
      uniform: [B, K, steps] random numbers in [0, 1) to draw K samples with; None: greedy, K = 1.
      restrict: choose among action tokens only; else among all.
      stepping: how to go on after the prompt; None: `Growing`.
    """
    language = model.language_model
    embeddings, valid, lengths = pad(model.sequences(images, ids), "left")
    cache = DynamicCache(config=language.config)
    hidden = language.hidden(embeddings, causal_mask(valid, model.dtype), positions_of(valid), cache)[:, -1]
    batch, samples = len(ids), 1 if uniform is None else uniform.shape[1]
    if samples > 1:  # the prompt's keys and values are computed once
        cache.batch_repeat_interleave(samples)
        hidden, lengths = (each.repeat_interleave(samples, dim=0) for each in (hidden, lengths))
        valid = None if valid is None else valid.repeat_interleave(samples, dim=0)
    draws = None if uniform is None else uniform.flatten(0, 1)
    if steps > 1:
        advance = (stepping or Growing()).begin(language, cache, valid, lengths, steps - 1)
    kept: list[tuple[Tensor, ...]] = []
    for step in range(steps):
        logits = language.logits(hidden)
        action_logits = logits[:, tokens.columns]
        draw = None if draws is None else draws[:, step : step + 1]
        chosen = choose(action_logits if restrict else logits, draw, temperature)[:, 0]
        chosen = chosen + tokens.columns.start if restrict else chosen
        kept.append((chosen, action_logits, logits.logsumexp(-1), logits.argmax(-1)))
        if step == steps - 1:
            break
        hidden = advance(chosen)
    parts = (torch.stack(each, dim=1) for each in zip(*kept, strict=True))
    return Decoded(*(each.unflatten(0, (batch, samples)) for each in parts))


def score(model: OpenVLA, images: Tensor, ids: Sequence[Sequence[int]], tokens: ActionTokens, given: Tensor) -> Scored:
    """Distributions along given tokens, in one pass.

    Args:
      images, ids: as in `decode`.
      given: [B, A] action tokens.
    """
    logits = logits_along(model, images, ids, given)
    return Scored(logits[..., tokens.columns], logits.logsumexp(-1))


def logits_along(model: OpenVLA, images: Tensor, ids: Sequence[Sequence[int]], given: Tensor) -> Tensor:
    """Logits [B, K, vocabulary] float32 of the K tokens `given` [B, K] after each prompt, each given those before it.

    Others as in `decode`. The output matrix is applied at these K positions only.
    """
    language = model.language_model
    tail = language.embed(given[:, :-1])
    # Padding on the right: no token that counts may look at it, so plain causal attention is exact.
    embeddings, _, lengths = pad(model.sequences(images, ids, tail), "right")
    hidden = language.hidden(embeddings, None, None)
    steps = given.shape[1]
    where = (lengths - steps)[:, None] + torch.arange(steps, device=given.device)
    rows = torch.arange(len(given), device=given.device)[:, None]
    return language.logits(hidden[rows, where])
