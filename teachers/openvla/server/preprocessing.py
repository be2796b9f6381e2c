"""Frames -> pixels, as a checkpoint was trained: explicit about every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from teachers.openvla.server.config import read_json
from teachers.openvla.server.resampling import crop_center, jpeg_round_trip, resize_lanczos, resize_pil

CROPPED_AREA = 0.9
"""Of the image, kept by the centre crop of checkpoints that were trained with random crops."""


@dataclasses.dataclass(frozen=True)
class Preprocessor:
    """What happens to a frame, in this order; see `from_checkpoint`.

    `libero`: a JPEG round trip and a Lanczos resize, as the frames of LIBERO's data sets went through.
    `center_crop`: for checkpoints that were trained with image augmentation; LIBERO's are, ManiSkill's are not.
    Always: a resize to a square as PIL's bicubic one, which ignores the aspect ratio, and a normalisation per tower.
    """

    size: int
    mean: tuple[tuple[float, ...], ...]  # per tower and colour
    std: tuple[tuple[float, ...], ...]
    center_crop: bool = False
    libero: bool = False

    @classmethod
    def from_checkpoint(cls, directory: Path, *, center_crop: bool = False, libero: bool = False) -> Preprocessor:
        """From preprocessor_config.json. Raises ValueError if it asks for something that is not supported."""
        return cls.from_dict(read_json(directory / "preprocessor_config.json"), center_crop=center_crop, libero=libero)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], *, center_crop: bool = False, libero: bool = False) -> Preprocessor:
        strategy = config.get("image_resize_strategy")
        if strategy != "resize-naive" or config.get("tvf_do_letterbox"):
            raise ValueError(
                f"preprocessor_config.json: image_resize_strategy={strategy!r}: only 'resize-naive' is supported"
            )
        if set(config.get("interpolations", ["bicubic"])) != {"bicubic"}:
            raise ValueError(
                f"preprocessor_config.json: interpolations={config['interpolations']}: only 'bicubic' is supported"
            )
        sizes = {tuple(each[1:]) for each in config["input_sizes"]}
        if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
            raise ValueError(f"preprocessor_config.json: input_sizes={config['input_sizes']}: need squares of one size")
        # The published values are rounded to bfloat16 in this block, and it is the one that counts.
        given = config.get("tvf_normalize_params")
        means = [each["mean"] for each in given] if given else config["means"]
        stds = [each["std"] for each in given] if given else config["stds"]
        mean, std = (tuple(tuple(float(v) for v in each) for each in values) for values in (means, stds))
        return cls(int(next(iter(sizes))[0]), mean, std, center_crop, libero)

    def resized(self, frames: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
        """[B, H, W, 3] uint8 -> [B, size, size, 3] uint8 on the device. Raises ValueError for other frames."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or not str(frames.dtype).endswith("uint8"):
            raise ValueError(f"frames are {frames.dtype} {tuple(frames.shape)}, need uint8 [B, H, W, 3]")
        if self.libero:
            array = np.stack(
                [jpeg_round_trip(np.asarray(each.cpu() if isinstance(each, Tensor) else each)) for each in frames]
            )
            frames = resize_lanczos(torch.from_numpy(array).to(device), self.size)
        else:
            if isinstance(frames, np.ndarray):  # torch takes neither read-only memory nor negative strides
                frames = torch.from_numpy(np.require(frames, requirements=("C", "W")))
            frames = frames.to(device)
        return crop_center(frames, self.size, CROPPED_AREA) if self.center_crop else resize_pil(frames, self.size)

    def __call__(self, frames: np.ndarray | Tensor, device: torch.device | str = "cpu") -> Tensor:
        """[B, H, W, 3] uint8 -> [B, 3 * towers, size, size] float32 on the device."""
        squares = self.resized(frames, device).permute(0, 3, 1, 2).float() / 255
        mean, std = (
            torch.tensor(each, device=squares.device).flatten()[None, :, None, None] for each in (self.mean, self.std)
        )
        return (squares.repeat(1, len(self.mean), 1, 1) - mean) / std
