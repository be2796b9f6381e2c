"""A student's actor in torch; the layers are those of rpd_jax's `policies/`."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # of NatureCNN: features, kernel, stride
ENCODED = 256  # what it makes of frames, and of the state beside them


class Network(nn.Module):
    """State and frames -> the most likely action, inside the box.

    Args:
      state: how many numbers the state has; 0 without.
      frames: (channels, height, width) of all cameras stacked; None without.
      hidden: widths of the actor's layers.
      actions: how many numbers an action has.
      bins: tokens for each of them; 0: the network gives the action itself.
    """

    def __init__(
        self, state: int, frames: tuple[int, int, int] | None, hidden: Sequence[int], actions: int, bins: int
    ) -> None:
        super().__init__()
        self.bins, size = bins, state
        if state:
            for name in ("mean", "std", "clip"):
                self.register_buffer(name, torch.ones(state))
        self.convolutions = nn.ModuleList()
        self.encoder: nn.Module | None = None
        self.proprio: nn.Module | None = None
        if frames:
            channels, height, width = frames
            for features, kernel, stride in CONVOLUTIONS:
                self.convolutions.append(nn.Conv2d(channels, features, kernel, stride))
                channels, height, width = features, (height - kernel) // stride + 1, (width - kernel) // stride + 1
            self.encoder = nn.Linear(channels * height * width, ENCODED)
            self.proprio = nn.Linear(state, ENCODED) if state else None
            size = 2 * ENCODED if state else ENCODED
        widths = [size, *hidden]
        self.actor = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.actor_out = nn.Linear(widths[-1], actions * max(bins, 1))
        for name in ("low", "high"):
            self.register_buffer(name, torch.ones(actions))

    def forward(self, state: Tensor | None, frames: Tensor | None) -> Tensor:
        """Actions [B, A] for states [B, D], and frames [B, C, H, W] in [0, 1]."""
        seen = []
        if frames is not None and self.encoder is not None:
            for convolution in self.convolutions:
                frames = torch.relu(convolution(frames))
            seen.append(torch.relu(self.encoder(frames.flatten(1))))
        if state is not None:
            state = torch.clamp((state - self.mean) / self.std, -self.clip, self.clip)
            seen.append(state if self.proprio is None else torch.relu(self.proprio(state)))
        x, activation = torch.cat(seen, dim=1), torch.tanh if self.encoder is None else torch.relu
        for layer in self.actor:
            x = activation(layer(x))
        x = self.actor_out(x)
        if self.bins:  # a token stands for the middle of its bin
            token = x.reshape(len(x), -1, self.bins).argmax(dim=2)
            x = self.low + (self.high - self.low) * (token + 0.5) / self.bins
        return torch.clamp(x, self.low, self.high)
