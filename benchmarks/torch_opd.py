"""One iteration of VLA-OPD in eager PyTorch, as single-file implementations write it: what to be faster than.

The exact reverse KL over the bins (the library's default), whole episodes, Adam with clipped gradients. What would only
slow it down is left out: diagnostics, groups' advantages, and log-probabilities of the chosen tokens, which the exact
loss does not need.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn


class Sizes(NamedTuple):
    """What one iteration works on."""

    observation: int  # numbers of a state
    num_envs: int = 32
    steps: int = 50
    action: int = 7
    bins: int = 256
    minibatches: int = 16
    hidden: int = 256


class Env(Protocol):
    """Environments [N] on the host; as `FunctionalVectorEnv`, with arrays of numpy."""

    def begin(self, number: int) -> np.ndarray:
        """Begins episode `number` of each; states [N, D]."""
        ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions [N, A] -> states [N, D] and successes or ends [N]."""
        ...


class Null:
    """Nothing happens, at no cost."""

    def __init__(self, sizes: Sizes) -> None:
        self._state = np.random.default_rng(0).normal(size=(sizes.num_envs, sizes.observation)).astype(np.float32)
        self._never = np.zeros(sizes.num_envs, bool)

    def begin(self, number: int) -> np.ndarray:
        return self._state

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._state, self._never


class Iteration:
    """`rollout`, `score`, `update`, one after the other."""

    def __init__(self, sizes: Sizes, env: Env, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self._sizes, self._env, self._device = sizes, env, device
        self.student, self.teacher = (_network(sizes).to(device) for _ in range(2))
        self._optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-3, eps=1e-5)
        self._number = 0

    def _logits(self, network: nn.Module, states: torch.Tensor) -> torch.Tensor:
        return network(states).view(len(states), self._sizes.action, self._sizes.bins)

    @torch.no_grad()
    def rollout(self) -> None:
        """Whole episodes, tokens sampled."""
        states, counts = [], []
        state = self._env.begin(self._number)
        self._number += 1
        running = np.ones(self._sizes.num_envs, bool)
        for _ in range(self._sizes.steps):
            seen = torch.from_numpy(state).to(self._device)
            tokens = torch.distributions.Categorical(logits=self._logits(self.student, seen)).sample()
            states.append(seen)
            counts.append(torch.from_numpy(running))
            state, ended = self._env.step((2.0 * (tokens + 0.5) / self._sizes.bins - 1.0).cpu().numpy())
            running = running & ~ended
        self._states = torch.cat(states)
        counted = torch.cat(counts).float().to(self._device)
        self._weights = counted / counted.mean()

    @torch.no_grad()
    def score(self) -> None:
        """The teacher's log-probabilities of all tokens."""
        self._theirs = self._logits(self.teacher, self._states).log_softmax(-1)

    def update(self) -> float:
        """One epoch of minibatches; returns the last loss."""
        for rows in torch.randperm(len(self._states)).chunk(self._sizes.minibatches):
            own = self._logits(self.student, self._states[rows]).log_softmax(-1)
            kl = (own.exp() * (own - self._theirs[rows])).sum(-1)
            loss = (self._weights[rows, None] * kl).mean()
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
            self._optimizer.step()
        return loss.item()


def _network(sizes: Sizes) -> nn.Module:
    first, second = nn.Linear(sizes.observation, sizes.hidden), nn.Linear(sizes.hidden, sizes.hidden)
    last = nn.Linear(sizes.hidden, sizes.action * sizes.bins)
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), last)
