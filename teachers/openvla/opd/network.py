"""A checkpoint as a token policy: frames and instructions -> distributions over the bins of every token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from teachers.openvla.opd.match import Source
from teachers.openvla.server.decoding import choose, decode, logits_along
from teachers.openvla.server.loading import Parts
from teachers.openvla.server.oft.parallel import chunk_hidden


class TokenNetwork(nn.Module):
    """OpenVLA, whose tokens are drawn one after the other, or OpenVLA-OFT's tokens, all in one pass.

    A decision is a chunk of C actions of A dimensions: K = C * A tokens, action by action. Columns are tokens less the
    first action token, in [0, bins).

    Args:
      parts: the model.
      source: what it was trained for.
      half: compute in bfloat16.
    """

    def __init__(self, parts: Parts, source: Source, *, half: bool) -> None:
        super().__init__()
        self.model = parts.model
        self.tokens, self._prompter = parts.tokens, parts.prompter
        self.bounds, self.chunk, self.dims = source.bounds, source.described.chunk, source.bounds.dims
        self._preprocessor, self._parallel, self._half = parts.preprocessor, source.oft is not None, half

    @property
    def count(self) -> int:
        """K, tokens of a decision."""
        return self.chunk * self.dims

    def images(self, frames: np.ndarray) -> Tensor:
        """Projected patches [B, M, D] of frames uint8 [B, H, W, 3]."""
        pixels = self._preprocessor(frames, self.model.device)
        with self._autocast():
            return self.model.embed_images(pixels[:, None])

    def forward(
        self,
        instructions: Sequence[str],
        columns: Tensor,
        images: Tensor | None = None,
        frames: np.ndarray | None = None,
    ) -> Tensor:
        """Logits [B, K, bins] float32 of the distributions that given tokens were, or would be, drawn from.

        Args:
          instructions: B.
          columns: [B, K] the tokens; those of OpenVLA-OFT do not depend on each other.
          images: [B, M, D] as `images` gives, or else
          frames: what to compute them of.
        """
        if images is None:
            assert frames is not None, "one of the two is given"
            images = self.images(frames)
        with self._autocast():
            ids = [self._prompter(each) for each in instructions]
            if self._parallel:
                return self._at_once(images, ids)
            given = columns.to(images.device) + self.tokens.columns.start
            return logits_along(self.model, images, ids, given)[..., self.tokens.columns]

    @torch.no_grad()
    def choose(self, images: Tensor, instructions: Sequence[str], uniform: Tensor | None, temperature: float) -> Tensor:
        """Columns [B, K] of tokens that are drawn with `uniform` [B, K] in [0, 1); None: of the most likely ones."""
        with self._autocast():
            ids = [self._prompter(each) for each in instructions]
            if self._parallel:
                logits = self._at_once(images, ids)
                draws = None if uniform is None else uniform.reshape(-1, 1).to(logits.device)
                return choose(logits.flatten(0, 1), draws, temperature)[:, 0].unflatten(0, logits.shape[:2])
            draws = None if uniform is None else uniform[:, None].to(images.device)
            found = decode(self.model, images, ids, self.tokens, self.count, uniform=draws, temperature=temperature)
            return found.tokens[:, 0] - self.tokens.columns.start

    def actions(self, columns: Tensor) -> np.ndarray:
        """[B, C, A] float32 in the data set's units, of columns [B, K]."""
        values = self.tokens.column_values[columns.cpu().numpy()]
        return self.bounds.unnormalize(values.reshape(-1, self.chunk, self.dims)).astype(np.float32)

    def _at_once(self, images: Tensor, ids: list[tuple[int, ...]]) -> Tensor:
        placeholders = images.new_zeros(len(images), self.count, images.shape[-1])
        hidden = chunk_hidden(self.model, images, ids, placeholders)
        return self.model.language_model.logits(hidden)[..., self.tokens.columns]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._half)
