"""Demonstrations -> batches of frames, prompts and the tokens to be predicted.

Which samples a batch has, and how they are augmented, follows from the seed and the batch's number alone: a resumed run
needs no other state.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rpd_jax.config.validation import ConfigError
from teachers.openvla.finetune.augment import augment, draw
from teachers.openvla.finetune.settings import AugmentSettings, DataSettings
from teachers.openvla.server.action_tokens import ActionTokens
from teachers.openvla.server.preprocessing import Preprocessor
from teachers.openvla.server.prompts import EOS, Prompter
from teachers.openvla.server.resampling import crop_center, resize_pil
from teachers.openvla.server.statistics import Bounds
from teachers.recordings import Episodes, Recordings, load

CAMERA = "image_primary"
_ORDER, _AUGMENTATION = 0, 1  # streams of random numbers


class Batch(NamedTuple):
    """B samples."""

    frames: Tensor  # [B, S, S, 3] uint8, augmented
    prompts: list[tuple[int, ...]]  # ids from BOS to the lone word boundary
    targets: Tensor  # [B, A + 1] int64: the action's tokens and the end of the answer


def read(sources: Sequence[Episodes], settings: DataSettings, size: int) -> Recordings:
    """Episodes with frames resized to the model's `size` as its preprocessing does.

    Raises ConfigError as `recordings.load` does, or if an episode has no instruction.
    """
    recordings = load(sources, settings, {CAMERA: size}, resize_frames)
    if not recordings.instruction.all():
        count = int((recordings.instruction == 0).sum())
        raise ConfigError(f"data has {count} episodes without an instruction: OpenVLA needs one for each")
    return recordings


def resize_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """uint8 [T, H, W, 3] -> [T, size, size, 3], bicubic."""
    return resize_pil(torch.from_numpy(np.require(frames, requirements=("C", "W"))), size).numpy()


def normalized(actions: np.ndarray, statistics: Mapping[str, Any]) -> np.ndarray:
    """Actions [N, A] -> [N, A] in [-1, 1] by the quantiles of "action"; 0 where all of the data are the same."""
    entry = statistics["action"]
    bounds = Bounds.of(entry)
    constant = bounds.mask & (np.asarray(entry["min"]) == np.asarray(entry["max"]))
    return np.where(constant, 0.0, bounds.normalize(actions))


def target_tokens(actions: np.ndarray, tokens: ActionTokens) -> np.ndarray:
    """Normalised actions [N, A] -> ids [N, A + 1] int64, the last of which ends the answer."""
    return np.pad(tokens.encode(actions).astype(np.int64), ((0, 0), (0, 1)), constant_values=EOS)


class Samples:
    """The samples of some episodes, one for each action.

    Args:
      recordings: from `read`.
      episodes: numbers of those that are used.
      prompter, tokens: the model's.
      augmentation: what is done to frames; None: nothing.
      center_crop: area of the centre that is cut out instead; 1: all.
      seed: of the order and the augmentation.
    """

    def __init__(
        self,
        recordings: Recordings,
        episodes: np.ndarray,
        prompter: Prompter,
        tokens: ActionTokens,
        *,
        augmentation: AugmentSettings | None = None,
        center_crop: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._images = recordings.images[CAMERA]
        self._augmentation, self._area, self._seed = augmentation, center_crop, seed
        self._prompts = [prompter(each) if each else () for each in recordings.instructions]
        length = recordings.length[episodes]
        self._t = np.concatenate([np.arange(n) for n in length]) if len(length) else np.zeros(0, int)
        episode = np.repeat(episodes, length)
        self._frame = recordings.first_frame[episode] + self._t
        self._instruction = recordings.instruction[episode]
        actions = recordings.action[recordings.first_action[episode] + self._t]
        self._targets = target_tokens(normalized(actions, recordings.statistics), tokens)

    def __len__(self) -> int:
        return len(self._t)

    def order(self, number: int, size: int) -> np.ndarray:
        """The samples [size] of batch `number`: every sample once an epoch, in an order drawn for each."""
        places = number * size + np.arange(size)
        epochs = places // len(self)
        orders = [_permutation(self._seed, int(epoch), len(self)) for epoch in epochs]
        return np.array([order[place] for order, place in zip(orders, places % len(self), strict=True)])

    def batch(self, number: int, size: int, device: torch.device | str = "cpu") -> Batch:
        """Batch `number` of `size` samples, on the device."""
        device = torch.device(device)
        index = self.order(number, size)
        frames = torch.from_numpy(np.asarray(self._images[self._frame[index]])).to(device)
        if self._augmentation is not None:
            rng = np.random.default_rng([self._seed, _AUGMENTATION, number])
            frames = augment(frames, draw(rng, size, self._augmentation, device))
        elif self._area < 1:
            frames = crop_center(frames, frames.shape[1], self._area)
        prompts = [self._prompts[each] for each in self._instruction[index]]
        return Batch(frames, prompts, torch.from_numpy(self._targets[index]).to(device))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(count)


def parts(batch: Batch, count: int) -> list[Batch]:
    """Micro-batches of equal size."""
    size = len(batch.prompts) // count
    rows = [slice(size * i, size * (i + 1)) for i in range(count)]
    return [Batch(*(each[part] for each in batch)) for part in rows]


def pixels(batch: Batch, preprocessor: Preprocessor) -> Tensor:
    """[B, 1, channels, S, S] float32: as `OpenVLA.embed_images` takes them."""
    return preprocessor(batch.frames, batch.frames.device)[:, None]
