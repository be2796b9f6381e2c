"""Every setting of a fine-tuning run and its default: the recipe of the Octo paper, for one data set.

Treat settings as read-only once `validate` has passed.
"""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses
from collections.abc import Mapping
from typing import Any

from rpd_jax.config import at_least_one, choice, from_dict, positive, require

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
class DataSettings:
    """From episodes to batches."""

    batch_size: int = 256
    window: int = 1  # frames of history, the current one included
    horizon: int = 4  # actions per window
    modality: str = "multimodal"  # image_conditioned | language_conditioned | multimodal
    keep_image: float = 0.5  # multimodal: probability that the goal image is kept, and not the instruction
    official_goal_mask: bool = True  # also train on the two actions after the goal, as the official code does
    normalization: str = "normal"  # normal | bounds, of actions
    mask: tuple[bool, ...] = ()  # action dimensions that are normalised; empty: all but the last, the gripper
    successes_only: bool = False  # leave out episodes that failed
    validation_share: float = 0.05  # of the episodes of each file, held out
    validation_batches: int = 4  # per validation
    primary: str = "rgb"  # observation key of the camera image_primary
    wrist: str = ""  # of image_wrist; empty: there is none
    image_size: int = 0  # pixels of a new model's square frames; 0: as recorded
    max_memory: float = 8.0  # GiB of frames kept in memory; more are kept in a temporary file


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
class FinetuneSettings:
    """A whole fine-tuning run."""

    seed: int = 42
    steps: int = 50_000
    mode: str = "full"  # full | head_only | head_mlp_only
    accumulation: int = 1  # micro-batches per step
    dtype: str = "float32"  # of the computation; parameters and the optimizer stay float32
    log_every: int = 100  # steps
    validate_every: int = 5000  # 0: never
    save_every: int = 5000  # 0: only at the end
    keep_checkpoints: int = 1
    tensorboard: bool = True
    wandb_project: str = ""  # empty: no W&B
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FinetuneSettings":
        """Inverse of `to_dict`; raises ConfigError for unknown fields."""
        return from_dict(cls, values, "config")

    def validate(self) -> "FinetuneSettings":
        """Raises ConfigError for the first impossible value; returns self."""
        at_least_one("config", self, "steps", "accumulation", "log_every", "keep_checkpoints")
        choice("mode", self.mode, MODES)
        choice("dtype", self.dtype, DTYPES)
        _not_negative("config", self, "seed", "validate_every", "save_every")
        self._validate_optimizer()
        self._validate_data()
        self._validate_augment()
        return self

    def _validate_optimizer(self) -> None:
        settings = self.optimizer
        choice("optimizer.schedule", settings.schedule, SCHEDULES)
        choice("optimizer.mu_dtype", settings.mu_dtype, DTYPES)
        positive("optimizer", settings, "learning_rate", "timescale", "eps")
        _not_negative("optimizer", settings, "warmup_steps", "decay_steps", "weight_decay", "clip")
        for field in ("b1", "b2"):
            value = getattr(settings, field)
            require(0 <= value < 1, f"optimizer.{field}", value, "a number in [0, 1)")
        steps = settings.decay_steps or self.steps
        if settings.schedule == "cosine":
            right = f"below the end of the decay at step {steps} (optimizer.decay_steps, or steps)"
            require(settings.warmup_steps < steps, "optimizer.warmup_steps", settings.warmup_steps, right)

    def _validate_data(self) -> None:
        data = self.data
        at_least_one("data", data, "batch_size", "window", "horizon", "validation_batches")
        choice("data.modality", data.modality, MODALITIES)
        choice("data.normalization", data.normalization, ("normal", "bounds"))
        require(0 <= data.keep_image <= 1, "data.keep_image", data.keep_image, "a number in [0, 1]")
        _not_negative("data", data, "image_size")
        share = data.validation_share
        require(0 <= share < 1, "data.validation_share", share, "a number in [0, 1)")
        positive("data", data, "max_memory")
        require(bool(data.primary or data.wrist), "data.primary", data.primary, "the observation key of a camera")
        parts = self.accumulation
        right = f"a multiple of accumulation={parts}"
        require(data.batch_size % parts == 0, "data.batch_size", data.batch_size, right)

    def _validate_augment(self) -> None:
        augment = self.augment
        for field in ("crop_scale", "crop_ratio", "contrast", "saturation"):
            value = getattr(augment, field)
            holds = len(value) == 2 and 0 < value[0] <= value[1]
            require(holds, f"augment.{field}", value, "two positive numbers, the smaller one first")
        require(augment.crop_scale[1] <= 1, "augment.crop_scale", augment.crop_scale, "at most 1")
        for field in ("brightness", "hue"):
            value = getattr(augment, field)
            require(0 <= value <= 0.5, f"augment.{field}", value, "a number in [0, 0.5]")


def _not_negative(owner: str, settings: Any, *fields: str) -> None:
    for field in fields:
        value = getattr(settings, field)
        require(value >= 0, f"{owner}.{field}", value, "at least 0")
