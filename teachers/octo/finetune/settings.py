"""Every setting of a fine-tuning run and its default: the recipe of the Octo paper, for one data set.

Treat settings as read-only once `validate` has passed.
"""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses
from typing import Self

from rpd_jax.validation import at_least_one, choice, positive, require
from teachers.finetuning.settings import RecordedData, RunSettings, check_adamw, check_augment, check_data, not_negative

MODES = ("full", "head_only", "head_mlp_only")
MODALITIES = ("image_conditioned", "language_conditioned", "multimodal")
SCHEDULES = ("cosine", "rsqrt", "constant")
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass
class OptimizerSettings:
    """AdamW behind a clip of the global gradient norm."""

    schedule: str = "cosine"  # cosine | rsqrt | constant; all after a linear warm-up from 0
    learning_rate: float = 3e-4  # at the end of the warm-up
    warmup_steps: int = 2000
    decay_steps: int = 0  # step at which the cosine reaches 0, counted from step 0; 0: the run's steps
    timescale: float = 10_000.0  # of rsqrt, steps
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    mu_dtype: str = "bfloat16"  # of Adam's first moment
    weight_decay: float = 0.01  # on leaves whose path contains "kernel"
    clip: float = 1.0  # global norm of the trainable leaves' gradient; 0: none
    frozen: tuple[
        str, ...
    ] = ()  # fnmatch on paths joined by dots; besides the mode's and those of the model's training


@dataclasses.dataclass
class DataSettings(RecordedData):
    """From episodes to batches."""

    batch_size: int = 256
    window: int = 1  # frames of history, the current one included
    horizon: int = 4  # actions per window
    modality: str = "multimodal"  # image_conditioned | language_conditioned | multimodal
    keep_image: float = 0.5  # multimodal: probability that the goal image is kept, and not the instruction
    official_goal_mask: bool = True  # also train on the two actions after the goal, as the official code does
    normalization: str = "normal"  # normal | bounds, of actions
    wrist: str = ""  # observation key of the camera image_wrist; empty: there is none
    image_size: int = 0  # pixels of a new model's square frames; 0: as recorded


@dataclasses.dataclass
class AugmentSettings:
    """Image augmentation, drawn anew for every window; ranges are of the factor, or of what is added."""

    enabled: bool = True
    crop_scale: tuple[float, float] = (0.8, 1.0)  # area of the crop
    crop_ratio: tuple[float, float] = (0.9, 1.1)  # its width over its height
    brightness: float = 0.1  # added, up to +-
    contrast: tuple[float, float] = (0.9, 1.1)
    saturation: tuple[float, float] = (0.9, 1.1)
    hue: float = 0.05  # turns of the colour circle, up to +-


@dataclasses.dataclass
class FinetuneSettings(RunSettings):
    """A whole fine-tuning run."""

    mode: str = "full"  # full | head_only | head_mlp_only
    dtype: str = "float32"  # of the computation; parameters and the optimizer stay float32
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        super().validate()
        choice("mode", self.mode, MODES)
        choice("dtype", self.dtype, DTYPES)
        self._validate_optimizer()
        self._validate_data()
        check_augment(self.augment, "crop_scale", "crop_ratio", "contrast", "saturation")
        require(self.augment.crop_scale[1] <= 1, "augment.crop_scale", self.augment.crop_scale, "at most 1")
        return self

    def _validate_optimizer(self) -> None:
        settings = self.optimizer
        choice("optimizer.schedule", settings.schedule, SCHEDULES)
        choice("optimizer.mu_dtype", settings.mu_dtype, DTYPES)
        check_adamw(settings)
        positive("optimizer", settings, "timescale")
        not_negative("optimizer", settings, "decay_steps")
        steps = settings.decay_steps or self.steps
        if settings.schedule == "cosine":
            right = f"below the end of the decay at step {steps} (optimizer.decay_steps, or steps)"
            require(settings.warmup_steps < steps, "optimizer.warmup_steps", settings.warmup_steps, right)

    def _validate_data(self) -> None:
        data = self.data
        check_data(data, self.accumulation)
        at_least_one("data", data, "window", "horizon")
        choice("data.modality", data.modality, MODALITIES)
        choice("data.normalization", data.normalization, ("normal", "bounds"))
        require(0 <= data.keep_image <= 1, "data.keep_image", data.keep_image, "a number in [0, 1]")
        not_negative("data", data, "image_size")
        require(bool(data.primary or data.wrist), "data.primary", data.primary, "the observation key of a camera")
