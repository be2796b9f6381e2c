"""Small episodes of random frames and actions, made anew from their number, and fine-tuning on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rpd_jax.demonstrations.episode import Episode
from teachers.openvla.finetune.settings import DataSettings, FinetuneSettings, LoraSettings, OptimizerSettings

if TYPE_CHECKING:
    from teachers.openvla.finetune.train import Result

INSTRUCTIONS = ("push the cube", "lift the small peg upright and then put it beside the cube")


def recorded(number: int, length: int = 3, size: int = 64, instruction: str | None = None) -> Episode:
    """Actions [length, 7] in [-1, 1], frames of noise; even and odd numbers have instructions of different lengths."""
    rng = np.random.default_rng(number)
    ends = np.arange(length) == length - 1
    return Episode(
        observation={"rgb": rng.integers(0, 256, (length + 1, size, size, 3), dtype=np.uint8)},
        action=rng.uniform(-1, 1, (length, 7)).astype(np.float32),
        reward=np.zeros(length, np.float32),
        terminated=ends,
        truncated=np.zeros(length, bool),
        success=ends,
        seed=number,
        instruction=INSTRUCTIONS[number % 2] if instruction is None else instruction,
        env_name="made:Up-v0",
    )


EPISODES = [recorded(number) for number in range(4)]


def settings(**values) -> FinetuneSettings:
    made = FinetuneSettings(
        seed=1,
        steps=6,
        dtype="f32",
        device="cpu",
        log_every=2,
        validate_every=3,
        save_every=0,
        lora=LoraSettings(rank=4),
        optimizer=OptimizerSettings(learning_rate=2e-3, warmup_steps=2),
        data=DataSettings(batch_size=4, validation_share=0.25, validation_batches=1),
    )
    return dataclasses.replace(made, **values)


def run(checkpoint: Path, directory: Path, made: FinetuneSettings, sources=(EPISODES,), **options) -> Result:
    from teachers.openvla.finetune.train import finetune

    return finetune(checkpoint, list(sources), made, directory, **options)
