"""From observations and tasks to groups of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rpd_jax.types import Array
from teachers.octo.attention import TokenGroup
from teachers.octo.config import ImageTokenizerConfig, LanguageTokenizerConfig
from teachers.octo.stems import Stem
from teachers.octo.t5 import T5Encoder


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that begin like one of the regular expressions, sorted."""
    return sorted(name for name in names if any(re.match(pattern, name) for pattern in patterns))


class ImageTokenizer(nn.Module):
    """Frames [B, W, H, W', 3] and goal images [B, H, W', 3], stacked on channels -> tokens [B, W, n, features].

    None where no observation matches. A goal that is not there counts as zeros, and so does a black one. A goal
    image's own padding mask plays no part.
    """

    config: ImageTokenizerConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, observation: Mapping[str, Any], task: Mapping[str, Any]) -> TokenGroup | None:
        keys = matching(observation, self.config.obs_stack_keys)
        if not keys:
            return None
        frames = jnp.concatenate([jnp.asarray(observation[key]) for key in keys], axis=-1)
        batch, window = frames.shape[:2]
        if self.config.task_stack_keys:
            absent = [k for k in matching(observation, self.config.task_stack_keys) if k not in task]
            goals = dict(task) | {key: jnp.zeros_like(observation[key][:, 0]) for key in absent}
            wanted = matching(goals, self.config.task_stack_keys)
            goal = jnp.concatenate([jnp.asarray(goals[key]) for key in wanted], axis=-1)
            goal = jnp.broadcast_to(goal[:, None], (batch, window, *goal.shape[1:]))
            frames = jnp.concatenate([frames, goal], axis=-1)
        stem = Stem(self.config.stem, self.dtype, name=f"{self.config.stem.name}_0")
        grid = stem(frames.reshape(-1, *frames.shape[2:]))
        tokens = grid.reshape(batch, window, -1, grid.shape[-1])
        mask = jnp.ones((batch, window), bool)
        padding = observation.get("pad_mask_dict", {})
        if self.config.proper_pad_mask and all(key in padding for key in keys):
            mask = jnp.any(jnp.stack([jnp.asarray(padding[key]).astype(bool) for key in keys], axis=-1), axis=-1)
        return TokenGroup(tokens, jnp.broadcast_to(mask[..., None], tokens.shape[:-1]))


class LanguageTokenizer(nn.Module):
    """The encoded instruction [B, L, d_model]; None where the task has none.

    `task["language_instruction"]` is a dict of ids and mask [B, L], or the encoding itself: [B, L, d_model], or
    [B, d_model] for a single token.
    """

    config: LanguageTokenizerConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        if self.config.t5 is not None:
            self.hf_model = T5Encoder(self.config.t5, self.dtype)

    def encode(self, instruction: Mapping[str, Array] | Array) -> Array:
        """The encoding alone."""
        if isinstance(instruction, Mapping):
            tokens = self.hf_model(instruction["input_ids"], instruction["attention_mask"])
        else:
            tokens = jnp.asarray(instruction, self.dtype)
            tokens = tokens[:, None] if tokens.ndim == 2 else tokens
        return tokens if self.config.finetune_encoder else jax.lax.stop_gradient(tokens)

    def __call__(self, task: Mapping[str, Any]) -> TokenGroup | None:
        if "language_instruction" not in task:
            return None
        tokens = self.encode(task["language_instruction"])
        mask = jnp.ones(tokens.shape[0], bool)
        padding = task.get("pad_mask_dict", {})
        if self.config.proper_pad_mask and "language_instruction" in padding:
            mask = jnp.asarray(padding["language_instruction"]).astype(bool)
        return TokenGroup(tokens, jnp.broadcast_to(mask[:, None], tokens.shape[:-1]))
