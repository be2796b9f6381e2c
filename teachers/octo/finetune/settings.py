"""Every setting of a fine-tuning run and its default: the recipe of the Octo paper, for one data set.

Treat settings as read-only once `validate` has passed.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from typing import Self

from rpd_jax.config.validation import Settings, require, setting
from teachers.finetuning.settings import RecordedData, RunSettings, check_batch, check_ranges

MODES = ("full", "head_only", "head_mlp_only")
MODALITIES = ("image_conditioned", "language_conditioned", "multimodal")
SCHEDULES = ("cosine", "rsqrt", "constant")
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass
class OptimizerSettings(Settings):
    """AdamW behind a clip of the global gradient norm."""

    schedule: str = setting("cosine", choices=SCHEDULES)  # after a linear warm-up from 0
    learning_rate: float = setting(3e-4, above=0)  # at the end of the warm-up
    warmup_steps: int = setting(2000, low=0)  # linear, from 0
    decay_steps: int = setting(0, low=0)  # step at which the cosine reaches 0, counted from step 0; 0: the run's steps
    timescale: float = setting(10_000.0, above=0)  # of rsqrt, steps
    b1: float = setting(0.9, low=0, below=1)  # decay of Adam's first moment
    b2: float = setting(0.999, low=0, below=1)  # decay of its second moment
    eps: float = setting(1e-8, above=0)  # Adam's
    mu_dtype: str = setting("bfloat16", choices=DTYPES)  # of Adam's first moment
    weight_decay: float = setting(0.01, low=0)  # on leaves whose path contains "kernel"
    clip: float = setting(1.0, low=0)  # global norm of the trainable leaves' gradient; 0: none
    # fnmatch on paths joined by dots; besides the mode's and those of the model's training.
    frozen: tuple[str, ...] = ()


@dataclasses.dataclass
class DataSettings(RecordedData):
    """From episodes to batches."""

    batch_size: int = setting(256, low=1)  # windows of a step, over all of its micro-batches
    window: int = setting(1, low=1)  # frames of history, the current one included
    horizon: int = setting(4, low=1)  # actions per window
    modality: str = setting("multimodal", choices=MODALITIES)  # what the task is given as
    # Of multimodal: probability that the goal image is kept, and not the instruction.
    keep_image: float = setting(0.5, low=0, high=1)
    official_goal_mask: bool = True  # also train on the two actions after the goal, as the official code does
    normalization: str = setting("normal", choices=("normal", "bounds"))  # of actions
    wrist: str = ""  # observation key of the camera image_wrist; empty: there is none
    image_size: int = setting(0, low=0)  # pixels of a new model's square frames; 0: as recorded


@dataclasses.dataclass
class AugmentSettings(Settings):
    """Image augmentation, drawn anew for every window; ranges are of the factor, or of what is added."""

    enabled: bool = True  # False: frames as they were recorded
    crop_scale: tuple[float, float] = setting((0.8, 1.0), above=0, high=1)  # area of the crop
    crop_ratio: tuple[float, float] = setting((0.9, 1.1), above=0)  # its width over its height
    brightness: float = setting(0.1, low=0, high=0.5)  # added, up to +-
    contrast: tuple[float, float] = setting((0.9, 1.1), above=0)  # factors
    saturation: tuple[float, float] = setting((0.9, 1.1), above=0)  # factors
    hue: float = setting(0.05, low=0, high=0.5)  # turns of the colour circle, up to +-


@dataclasses.dataclass
class FinetuneSettings(RunSettings):
    """A whole fine-tuning run."""

    accumulation: int = setting(1, low=1)  # micro-batches per step
    mode: str = setting("full", choices=MODES)  # which parameters learn
    dtype: str = setting("float32", choices=DTYPES)  # of the computation; parameters and the optimizer stay float32
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        super().validate()
        optimizer, data = self.optimizer, self.data
        steps = optimizer.decay_steps or self.steps
        if optimizer.schedule == "cosine":
            right = f"below the end of the decay at step {steps} (optimizer.decay_steps, or steps)"
            require(optimizer.warmup_steps < steps, "optimizer.warmup_steps", optimizer.warmup_steps, right)
        check_batch(data.batch_size, self.accumulation)
        require(bool(data.primary or data.wrist), "data.primary", data.primary, "the observation key of a camera")
        check_ranges(self.augment, "crop_scale", "crop_ratio", "contrast", "saturation")
        return self
