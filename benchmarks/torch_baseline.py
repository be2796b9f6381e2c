"""One PPO + RPD-MSE update in eager PyTorch, as single-file implementations write it: what to be faster than.

Written from the published settings (arXiv 2503.05833 and its hyper-parameters): 8 epochs over shuffled
minibatches of 133 from a batch of 6,400, Adam with eps 1e-5, gradients clipped to norm 0.5, advantages
normalised per minibatch, no value clipping, and the mean squared error between the student's mean action and
the teacher's. What would only slow it down is left out: the entropy, whose coefficient is 0, and the 49th
minibatch of 16 samples. The approximate KL is computed, though it cuts no epoch short, so that every update
does the same work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.distributions import Normal


class Sizes(NamedTuple):
    """What one update works on."""

    batch: int = 6400  # 128 environments x 50 steps
    minibatch: int = 133
    minibatches: int = 48  # whole ones; the 16 samples left over are not used
    epochs: int = 8
    observation: int = 42  # numbers of a state observation
    action: int = 7
    pixels: int = 128  # of a square image
    hidden: tuple[int, ...] = (256, 256, 256)  # of a state's actor and critic each


class Losses(NamedTuple):
    """Means over the last minibatch."""

    policy: float
    value: float
    distillation: float
    approximate_kl: float


class Batch(NamedTuple):
    """What an agent learns from, tensors [B, ...]."""

    observations: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    labels: torch.Tensor | None  # the teacher's actions; None: nobody is distilled


class StateAgent(nn.Module):
    """Separate tanh networks for actor and critic."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.actor = _mlp(sizes.observation, sizes.hidden, sizes.action, 0.01 * math.sqrt(2))
        self.critic = _mlp(sizes.observation, sizes.hidden, 1, math.sqrt(2))
        self.log_std = nn.Parameter(torch.full((1, sizes.action), -0.5))

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.actor(observation), self.critic(observation)


class ImageAgent(nn.Module):
    """Three convolutions shared by actor and critic; images are uint8 [B, H, W, 3]."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        convolutions = nn.Sequential(
            nn.Conv2d(3, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            width = convolutions(torch.zeros(1, 3, sizes.pixels, sizes.pixels)).shape[1]
        self.encoder = nn.Sequential(convolutions, nn.Linear(width, 256), nn.ReLU())
        hidden, last = _linear(256, 512, math.sqrt(2)), _linear(512, sizes.action, 0.01 * math.sqrt(2))
        self.actor = nn.Sequential(hidden, nn.ReLU(), last)
        hidden, last = _linear(256, 512, math.sqrt(2)), _linear(512, 1, math.sqrt(2))
        self.critic = nn.Sequential(hidden, nn.ReLU(), last)
        self.log_std = nn.Parameter(torch.full((1, sizes.action), -0.5))

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(observation.permute(0, 3, 1, 2).float() / 255.0)
        return self.actor(features), self.critic(features)


def make_torch_update(
    kind: str = "state", sizes: Sizes | None = None, seed: int = 0, device: str = "cpu"
) -> Callable[[], Losses]:
    """Makes an agent, a batch of random data, and the function that does one whole update with them.

    Args:
      kind: "state", or "rgb" with the image's side in pixels behind it, such as "rgb128".
      sizes: of the batch; None is the published setting.
      seed: of weights, data and shuffling.
      device: torch's name of it.

    Returns:
      a function to be timed: it waits for the update to be done and returns its last losses.
    """
    sizes = sizes or Sizes()
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    if kind == "state":
        agent: nn.Module = StateAgent(sizes)
        observations = torch.randn(sizes.batch, sizes.observation)
    elif kind.startswith("rgb") and kind[3:].isdigit():
        sizes = sizes._replace(pixels=int(kind[3:]))
        agent = ImageAgent(sizes)
        shape = (sizes.batch, sizes.pixels, sizes.pixels, 3)
        observations = torch.from_numpy(generator.integers(0, 256, shape, np.uint8))
    else:
        raise ValueError(f'kind={kind!r} is unknown: it must be "state" or such as "rgb128"')
    agent, observations = agent.to(device), observations.to(device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)

    with torch.no_grad():
        mean, value = zip(*(agent(part) for part in observations.split(sizes.minibatch)), strict=True)
        mean, values = torch.cat(mean), torch.cat(value).flatten()
        distribution = Normal(mean, agent.log_std.exp().expand_as(mean))
        actions = distribution.sample()
        advantages = torch.randn(sizes.batch, device=device)
        batch = Batch(
            observations,
            actions,
            distribution.log_prob(actions).sum(1),
            advantages,
            advantages + values,
            labels=torch.full((sizes.batch, sizes.action), 0.5, device=device),
        )
    return lambda: learn(agent, optimizer, batch, sizes, generator)


def learn(
    agent: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, sizes: Sizes, generator: np.random.Generator
) -> Losses:
    """One whole update."""
    indices = np.arange(sizes.batch)
    distillation = torch.zeros(())
    for _ in range(sizes.epochs):
        generator.shuffle(indices)
        for start in range(0, sizes.minibatches * sizes.minibatch, sizes.minibatch):
            chosen = torch.from_numpy(indices[start : start + sizes.minibatch]).to(batch.actions.device)
            mean, value = agent(batch.observations[chosen])
            distribution = Normal(mean, agent.log_std.exp().expand_as(mean))
            log_ratio = distribution.log_prob(batch.actions[chosen]).sum(1) - batch.log_probs[chosen]
            ratio = log_ratio.exp()
            with torch.no_grad():
                approximate_kl = ((ratio - 1) - log_ratio).mean()
            advantage = batch.advantages[chosen]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            clipped = torch.clamp(ratio, 0.8, 1.2)
            policy_loss = torch.max(-advantage * ratio, -advantage * clipped).mean()
            value_loss = 0.5 * ((value.view(-1) - batch.returns[chosen]) ** 2).mean()
            loss = policy_loss + 0.5 * value_loss
            if batch.labels is not None:
                distillation = nn.functional.mse_loss(mean, batch.labels[chosen])
                loss = loss + distillation
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
    return Losses(policy_loss.item(), value_loss.item(), distillation.item(), approximate_kl.item())


def _mlp(inputs: int, hidden: Sequence[int], outputs: int, last_scale: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [_linear(inputs, width, math.sqrt(2)), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, _linear(inputs, outputs, last_scale))


def _linear(inputs: int, outputs: int, scale: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, scale)
    nn.init.zeros_(layer.bias)
    return layer
