"""OpenVLA assembled: images and token ids -> embeddings -> Llama."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from teachers.openvla.server.config import ModelConfig
from teachers.openvla.server.language import Language
from teachers.openvla.server.projector import MLPProjector, vision_projector
from teachers.openvla.server.vision import Modulation, VisionBackbone


class OpenVLA(nn.Module):
    """The network. Parameter names are those on disk; see `checkpoint.load_model`.

    Args:
      config: from config.json.
      proprio_dim: of the projector of the robot's state that some checkpoints of OpenVLA-OFT hold.
    """

    def __init__(self, config: ModelConfig, proprio_dim: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.vision_backbone = VisionBackbone(config.towers)
        self.language_model = Language(config.text)
        hidden = self.language_model.config.hidden_size
        features = sum(tower.embed_dim for tower in config.towers)
        self.projector = vision_projector(features, len(config.towers), hidden)
        self.proprio_projector = None if proprio_dim is None else MLPProjector(proprio_dim, hidden, hidden)

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return self.language_model.model.norm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.language_model.model.norm.weight.device

    def unused_shapes(self) -> dict[str, tuple[int, ...]]:
        """What a checkpoint holds besides this module's parameters."""
        return {f"vision_backbone.{name}": shape for name, shape in self.vision_backbone.unused_shapes().items()}

    def embed_images(self, pixels: Tensor, film: dict[str, Sequence[Modulation]] | None = None) -> Tensor:
        """Projected patches.

        Args:
          pixels: [B, images, channels, S, S].
          film: modulations [B, ...] of every tower's blocks, if there are any.
        Returns:
          [B, images * patches, D]: the images' patches one after the other.
        """
        batch, images = pixels.shape[:2]
        if film is not None:
            film = {
                name: [tuple(part.repeat_interleave(images, dim=0) for part in each) for each in blocks]
                for name, blocks in film.items()
            }
        patches = self.projector(self.vision_backbone(pixels.flatten(0, 1).to(self.dtype), film))
        return patches.reshape(batch, -1, patches.shape[-1])

    def embed_text(self, ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Embeddings [L_i, D] of rows of ids; equal rows are looked up once."""
        found: dict[tuple[int, ...], Tensor] = {}
        for row in {tuple(each) for each in ids}:
            found[row] = self.language_model.embed(torch.tensor(row, device=self.device))
        return [found[tuple(each)] for each in ids]

    def sequences(
        self, images: Tensor, ids: Sequence[Sequence[int]], tail: Tensor | Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """BOS, the image tokens, the rest of the prompt and the tail: of every row, [N_i, D].

        Args:
          images: [B, M, D] from `embed_images`, with whatever stands behind the patches.
          ids: B rows, each from BOS to the prompt's last token.
          tail: [B, K, D], what follows.
        """
        if len(images) != len(ids):
            raise ValueError(f"{len(images)} images and {len(ids)} prompts: need as many")
        text = self.embed_text(ids)
        tails = [[]] * len(text) if tail is None else [[each] for each in tail]
        return [torch.cat([t[:1], i, t[1:], *after]) for t, i, after in zip(text, images, tails, strict=True)]
