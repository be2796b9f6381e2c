"""Trajectories of the student: what it saw, which tokens it chose, which of them count."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from teachers.openvla.opd.environments import Environments
from teachers.openvla.opd.network import TokenNetwork
from teachers.openvla.server.batching import chunks

Draw = Callable[[int], Tensor]
"""Decision -> random numbers [N, K] in [0, 1)."""


class Seen:
    """The frames of all decisions in the host's memory, and projected patches of as many as it may hold.

    Args:
      keeps: whether patches stay the same, so that they can be kept.
      gib: of memory for them.
    """

    def __init__(self, *, keeps: bool, gib: float) -> None:
        self._left = gib * 2**30 if keeps else 0.0
        self._frames: list[np.ndarray] = []
        self._images: list[Tensor | None] = []

    @property
    def kept(self) -> float:
        """Of which share of the frames there are patches."""
        return float(np.mean([each is not None for each in self._images]))

    def add(self, frames: np.ndarray, images: Tensor) -> None:
        """Takes frames [B, H, W, 3] and their patches [B, M, D]."""
        size = images.nbytes
        fits = size <= self._left
        self._left -= size if fits else 0
        self._frames.extend(frames)
        self._images.extend(images.cpu() if fits else [None] * len(frames))

    def frames(self, rows: list[int]) -> np.ndarray:
        """[B, H, W, 3] uint8."""
        return np.stack([self._frames[row] for row in rows])

    def images(self, rows: list[int], network: TokenNetwork) -> Tensor:
        """[B, M, D] on the network's device; those that were not kept are computed again."""
        device = network.model.device
        missing = [row for row in rows if self._images[row] is None]
        again = dict(zip(missing, network.images(self.frames(missing)), strict=True)) if missing else {}
        return torch.stack([again[row] if row in again else self._images[row].to(device) for row in rows])  # type: ignore[union-attr]


def seed_of(*numbers: int) -> int:
    """The seed of a generator for what these numbers name, e.g. an iteration and a decision of a run."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Rollout(NamedTuple):
    """N trajectories; a row is a decision of one of them, R in all. Tensors are on the host."""

    seen: Seen  # R, or nothing
    instructions: list[str]  # R
    trajectory: Tensor  # [R] int64
    decision: Tensor  # [R] int64
    columns: Tensor  # [R, K] int64
    mask: Tensor  # [R, K] bool: of a step before the episode's success or end
    success: Tensor  # [N] float32, 0 or 1
    decisions: int  # at most, of an episode

    def dense(self, values: Tensor) -> Tensor:
        """Values of rows [R, K] along time, [decisions * K, N], with zeros where there is nothing."""
        found = values.new_zeros(self.decisions, len(self.success), values.shape[1])
        found[self.decision, self.trajectory] = values
        return found.transpose(1, 2).flatten(0, 1)

    def of_rows(self, dense: Tensor) -> Tensor:
        """The inverse of `dense`."""
        found = dense.unflatten(0, (self.decisions, -1)).transpose(1, 2)
        return found[self.decision, self.trajectory]


@torch.no_grad()
def roll_out(
    envs: Environments,
    number: int,
    network: TokenNetwork,
    *,
    draw: Draw | None,
    temperature: float,
    max_batch: int,
    seen: Seen | None,
) -> Rollout:
    """Plays episode `number` of every environment to its time limit, or until all have succeeded.

    Chunks are carried out without looking. Environments that are done go on with actions of zero, and cost nothing.

    Args:
      draw: None for the most likely tokens.
      max_batch: frames computed at a time.
      seen: empty, to be filled; None: nothing will be asked of what was seen.
    """
    observation = envs.begin(number)
    total, chunk = len(envs.instructions), network.chunk
    success, ended = np.zeros(total, bool), np.zeros(total, bool)
    rows, decisions, columns, masks = [], [], [], []
    for decision, first in enumerate(range(0, envs.steps, chunk)):
        active = np.flatnonzero(~ended)
        frames = np.asarray(observation["rgb"])[active]
        uniform = None if draw is None else draw(decision)[active]
        chosen = []
        for part in chunks(len(active), max_batch):
            images = network.images(frames[part])
            words = [envs.instructions[row] for row in active[part]]
            draws = None if uniform is None else uniform[part]
            chosen.append(network.choose(images, words, draws, temperature).cpu())
            if seen is not None:
                seen.add(frames[part], images)
        columns.append(torch.cat(chosen))
        action = np.zeros((total, chunk, network.dims), np.float32)
        action[active] = network.actions(columns[-1])
        action = envs.to_env(action)
        mask = np.zeros((total, chunk), bool)
        for step in range(min(chunk, envs.steps - first)):
            mask[:, step] = ~ended
            result = envs.env.step(action[:, step])
            success |= np.asarray(result.success) & ~ended
            ended |= np.asarray(result.terminated) | np.asarray(result.truncated) | success
        masks.append(torch.from_numpy(mask[active]).repeat_interleave(network.dims, dim=1))
        rows.append(torch.from_numpy(active))
        decisions.append(torch.full((len(active),), decision))
        if ended.all():
            break
    trajectory = torch.cat(rows)
    return Rollout(
        seen=seen or Seen(keeps=False, gib=0.0),
        instructions=[envs.instructions[row] for row in trajectory.tolist()],
        trajectory=trajectory,
        decision=torch.cat(decisions),
        columns=torch.cat(columns),
        mask=torch.cat(masks),
        success=torch.from_numpy(success).float(),
        decisions=-(-envs.steps // chunk),
    )
