"""The vision towers: DINOv2 and SigLIP up to their second-to-last block, and their fusion.

Parameter names are those on disk. What the checkpoints hold besides (the last block, the final norm, SigLIP's
attention pooling) is not used by OpenVLA and not built; `unused_shapes` lists it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from teachers.openvla.server.config import TowerConfig

_NORM_EPSILON = 1e-6
Modulation = tuple[Tensor, Tensor]
"""Scale and shift [B, embed_dim] of a block (FiLM)."""


class Attention(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, dim))


class MLP(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.embed_dim, config.mlp_dim)
        self.fc2 = nn.Linear(config.mlp_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class Block(nn.Module):
    """A pre-norm transformer block; a modulation acts between its two halves."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=_NORM_EPSILON)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=_NORM_EPSILON)
        self.mlp = MLP(config)
        self.ls1 = LayerScale(config.embed_dim) if config.layer_scale else nn.Identity()
        self.ls2 = LayerScale(config.embed_dim) if config.layer_scale else nn.Identity()

    def forward(self, x: Tensor, modulation: Modulation | None = None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        if modulation is not None:
            scale, shift = modulation
            x = x * (1 + scale[:, None]) + shift[:, None]
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.embed_dim, config.patch_size, stride=config.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Tower(nn.Module):
    """Pixels [B, 3, S, S] -> patch features [B, patches, embed_dim] after the second-to-last block, without a norm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, config.patches, config.embed_dim))
        if config.registers:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
            self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.embed_dim))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth - 1)])

    def forward(self, pixels: Tensor, modulations: Sequence[Modulation] | None = None) -> Tensor:
        x = self.patch_embed(pixels) + self.pos_embed
        if self.config.registers:  # they have no position embedding
            prefix = torch.cat([self.cls_token, self.reg_token], dim=1).expand(len(x), -1, -1)
            x = torch.cat([prefix, x], dim=1)
        for index, block in enumerate(self.blocks):
            x = block(x, None if modulations is None else modulations[index])
        return x[:, self.config.prefix :]

    def unused_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what a checkpoint holds besides this module's parameters."""
        dim, hidden = self.config.embed_dim, self.config.mlp_dim
        last = {f"blocks.{self.config.depth - 1}.{name}": v for name, v in self.blocks[0].state_dict().items()}
        shapes = {name: tuple(value.shape) for name, value in last.items()}
        shapes |= {"norm.weight": (dim,), "norm.bias": (dim,)}
        if self.config.attention_pool:
            shapes["attn_pool.latent"] = (1, 1, dim)
            linears = {"q": (dim, dim), "kv": (2 * dim, dim), "proj": (dim, dim)}
            linears |= {"mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
            for name, shape in linears.items():
                shapes |= {f"attn_pool.{name}.weight": shape, f"attn_pool.{name}.bias": shape[:1]}
            shapes |= {"attn_pool.norm.weight": (dim,), "attn_pool.norm.bias": (dim,)}
        return shapes


class VisionBackbone(nn.Module):
    """One or two towers side by side: pixels [B, 3 * towers, S, S] -> features [B, patches, sum of embed_dim]."""

    def __init__(self, configs: Sequence[TowerConfig]) -> None:
        super().__init__()
        self.featurizer = Tower(configs[0])
        if len(configs) == 2:
            self.fused_featurizer = Tower(configs[1])

    @property
    def towers(self) -> dict[str, Tower]:
        """By name on disk, in the order of pixel channels and of features: DINOv2 before SigLIP."""
        return {name: tower for name, tower in self.named_children() if isinstance(tower, Tower)}

    def features(self, pixels: Tensor, film: dict[str, Sequence[Modulation]] | None = None) -> list[Tensor]:
        """Of each tower, [B, patches, embed_dim]."""
        towers = self.towers
        if pixels.shape[1] != 3 * len(towers):
            raise ValueError(f"pixels have {pixels.shape[1]} channels, need 3 for each of {len(towers)} towers")
        parts = pixels.split(3, dim=1)
        return [
            tower(part, None if film is None else film[name])
            for (name, tower), part in zip(towers.items(), parts, strict=True)
        ]

    def forward(self, pixels: Tensor, film: dict[str, Sequence[Modulation]] | None = None) -> Tensor:
        return torch.cat(self.features(pixels, film), dim=-1)

    def unused_shapes(self) -> dict[str, tuple[int, ...]]:
        towers = self.towers.items()
        return {f"{name}.{key}": shape for name, tower in towers for key, shape in tower.unused_shapes().items()}
