"""FiLM: the instruction's mean embedding scales and shifts the vision towers' blocks."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from teachers.openvla.server.checkpoint import check_tensors
from teachers.openvla.server.lora import merged
from teachers.openvla.server.oft.heads import fill, find_file, read_tensors
from teachers.openvla.server.vision import Modulation, VisionBackbone

_BLOCK = re.compile(r"(.*blocks\.\d+)\.block\.(.*)")
_MODULATION = re.compile(r"(\w+)\.blocks\.(\d+)\.(scale|shift)\.(weight|bias)")
_PREFIX = "vision_backbone."
_LARGEST_ALPHA = 16
"""The official training sets LoRA's alpha to the rank, but not above this."""


class FiLM(nn.Module):
    """Mean embeddings [B, D] -> modulations of every block of every tower."""

    def __init__(self, backbone: VisionBackbone, hidden: int) -> None:
        super().__init__()
        for name, tower in backbone.towers.items():
            pairs = [
                nn.ModuleDict({part: nn.Linear(hidden, tower.config.embed_dim) for part in ("scale", "shift")})
                for _ in range(len(tower.blocks))
            ]
            self.add_module(name, nn.ModuleList(pairs))

    def forward(self, mean: Tensor) -> dict[str, list[Modulation]]:
        return {
            name: [(pair["scale"](mean), pair["shift"](mean)) for pair in blocks]
            for name, blocks in self.named_children()
        }


def load_film(directory: Path, backbone: VisionBackbone, like: Tensor) -> FiLM:
    """Reads vision_backbone--<step>_checkpoint.pt: replaces the backbone's parameters and gives the modulations.

    Args:
      backbone: whose parameters are replaced.
      like: [D], a tensor of the language model's width, type and device.
    Raises:
      ValueError: tensors are missing, superfluous or of another shape.
    """
    path = find_file(directory, "vision_backbone")
    tensors = merge_lora({name.removeprefix(_PREFIX): value for name, value in read_tensors(path).items()})
    modulations, weights = {}, {}
    for name, value in tensors.items():
        found, block = _MODULATION.fullmatch(name), _BLOCK.fullmatch(name)
        if found:
            tower, index, part, kind = found.groups()
            if int(index) < len(getattr(backbone, tower).blocks):  # of the block that is not used there is one too
                modulations[f"{tower}.{index}.{part}.{kind}"] = value
        else:
            weights[f"{block[1]}.{block[2]}" if block else name] = value
    with torch.device("meta"):
        film = FiLM(backbone, len(like))
    fill(film, modulations, path, like)
    expected = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    check_tensors(str(path), expected, backbone.unused_shapes(), shapes)
    used = {name: value.to(like.device, like.dtype) for name, value in weights.items() if name in expected}
    backbone.load_state_dict(used, assign=True)
    backbone.requires_grad_(False)
    return film


def merge_lora(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds LoRA matrices (`.lora_A.default.weight`) to the weights they wrap (`.base_layer.weight`)."""
    done = {}
    for name, value in tensors.items():
        if ".lora_" in name:
            continue
        stem, wrapped, kind = name.partition(".base_layer.")
        if wrapped and kind == "weight":
            a, b = (tensors.get(f"{stem}.lora_{side}.default.weight") for side in "AB")
            if a is None or b is None:
                raise ValueError(f"{stem} is wrapped for LoRA and lacks lora_A or lora_B")
            value = merged(value, a, b, min(len(a), _LARGEST_ALPHA) / len(a))
        done[f"{stem}.{kind}" if wrapped else name] = value
    return done
