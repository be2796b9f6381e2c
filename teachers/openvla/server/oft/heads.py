"""Heads and projectors of OpenVLA-OFT, and their files."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from teachers.openvla.server.checkpoint import check_tensors, expected_shapes, strip_prefix
from teachers.openvla.server.finite import check_finite
from teachers.openvla.server.oft.settings import OFTSettings
from teachers.openvla.server.projector import MLPProjector


class ResidualBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ffn(x)


class MLPResNet(nn.Module):
    """[..., before] -> [..., after] through two residual blocks of width `hidden`."""

    def __init__(self, before: int, hidden: int, after: int, blocks: int = 2) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(before)
        self.fc1 = nn.Linear(before, hidden)
        self.mlp_resnet_blocks = nn.ModuleList([ResidualBlock(hidden) for _ in range(blocks)])
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, after)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))


class ActionHead(nn.Module):
    """Hidden states of a chunk [B, K * A, D] -> [B, K, A]: normalised actions ("l1") or the noise ("diffusion")."""

    PREFIXES = {"l1": "model.", "diffusion": "noise_predictor.mlp_resnet."}  # noqa: RUF012

    def __init__(self, settings: OFTSettings, hidden: int) -> None:
        super().__init__()
        self.chunk = settings.chunk
        self.net = MLPResNet(settings.action_dim * hidden, hidden, settings.action_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.net(hidden.reshape(len(hidden), self.chunk, -1))


def find_file(directory: Path, name: str) -> Path:
    """`<name>--<step>_checkpoint.pt`. Raises ValueError unless there is exactly one."""
    found = sorted(directory.glob(f"{name}--*_checkpoint.pt"))
    if len(found) != 1:
        said = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{directory}: need one {name}--<step>_checkpoint.pt, there is {said}")
    return found[0]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A .pt file of tensors, on the CPU, without the prefix of distributed training. Nothing in it is executed.

    Raises ValueError if it is damaged, or a tensor is not finite.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path}: no file of tensors ({str(error).splitlines()[0]})") from None
    check_finite(path, state)
    return strip_prefix(state, "module.")


def fill(module: nn.Module, state: dict[str, Tensor], where: Path, like: Tensor, prefix: str = "") -> nn.Module:
    """Loads tensors into a module, of the type and on the device of another tensor.

    Args:
      module: made without storage.
      state: its tensors, by names that begin with `prefix`.
      where: their file, for messages.
    Raises:
      ValueError: tensors are missing, superfluous or of another shape.
    """
    shapes = {f"{prefix}{name}": shape for name, shape in expected_shapes(module).items()}
    check_tensors(str(where), shapes, {}, {name: tuple(value.shape) for name, value in state.items()})
    cast = {name.removeprefix(prefix): value.to(like.device, like.dtype) for name, value in state.items()}
    module.load_state_dict(cast, assign=True)
    return module.requires_grad_(False).eval()


def load_head(directory: Path, settings: OFTSettings, like: Tensor) -> ActionHead:
    """The action head of a directory; `like` [D] is any tensor of the language model's width, type and device."""
    with torch.device("meta"):
        head = ActionHead(settings, len(like))
    path = find_file(directory, "action_head")
    prefix = ActionHead.PREFIXES[settings.head]
    fill(head.net, read_tensors(path), path, like, prefix)
    return head


def load_projector(directory: Path, name: str, before: int, like: Tensor) -> MLPProjector:
    """ "proprio_projector" or "noisy_action_projector": `before` numbers -> one embedding."""
    with torch.device("meta"):
        projector = MLPProjector(before, len(like), len(like))
    path = find_file(directory, name)
    fill(projector, read_tensors(path), path, like)
    return projector
