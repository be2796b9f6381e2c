"""Every setting of a fine-tuning run and its default: the official LoRA recipe of OpenVLA, for one GPU.

Treat settings as read-only once `validate` has passed.
"""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses
from collections.abc import Mapping
from typing import Any

from rpd_jax.config import at_least_one, choice, from_dict, positive, require

SETTINGS_FILE = "finetune_config.json"  # of a run's directory
DTYPES = ("bf16", "f32")
TARGETS = ("vision_backbone", "projector", "language_model")


@dataclasses.dataclass
class LoraSettings:
    """Low-rank matrices beside linear layers; without dropout, A begins Gaussian and B zero."""

    rank: int = 32
    alpha: int = 0  # what is added has the factor alpha / rank; 0: the rank, but at most 16
    targets: tuple[str, ...] = TARGETS  # parts of the model whose linear layers get them; never the output matrix

    @property
    def scaled_by(self) -> int:
        """The alpha in force."""
        return self.alpha or min(self.rank, 16)


@dataclasses.dataclass
class OptimizerSettings:
    """AdamW at a constant rate."""

    learning_rate: float = 5e-4
    warmup_steps: int = 0  # linear, from 0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01  # torch's default
    clip: float = 0.0  # global norm of the gradient; 0: none


@dataclasses.dataclass
class DataSettings:
    """From episodes to batches: a sample is a frame, its instruction and the action."""

    batch_size: int = 16  # of a step, over all of its micro-batches
    name: str = "demonstrations"  # of the data set, in dataset_statistics.json
    primary: str = "rgb"  # observation key of the camera
    mask: tuple[bool, ...] = ()  # action dimensions that are normalised; empty: all but the last, the gripper
    successes_only: bool = False  # leave out episodes that failed
    validation_share: float = 0.05  # of the episodes of each file, held out
    validation_batches: int = 4  # per validation
    max_memory: float = 8.0  # GiB of frames kept in memory; more are kept in a temporary file


@dataclasses.dataclass
class AugmentSettings:
    """Image augmentation, drawn anew for every sample. A model trained with it is to be served with center_crop."""

    enabled: bool = True
    crop_area: float = 0.9  # of the image
    brightness: float = 0.2  # added, up to +-
    contrast: tuple[float, float] = (0.8, 1.2)  # factors
    saturation: tuple[float, float] = (0.8, 1.2)
    hue: float = 0.05  # turns of the colour circle, up to +-


@dataclasses.dataclass
class FinetuneSettings:
    """A whole fine-tuning run."""

    seed: int = 42
    steps: int = 50_000
    accumulation: int = 1  # micro-batches per step
    dtype: str = "bf16"  # of the frozen weights and the computation: bf16 | f32; what is trained stays float32
    device: str = ""  # as torch names it; empty: the GPU if there is one
    gradient_checkpointing: bool = False  # compute the language model's activations twice: slower, less memory
    log_every: int = 50  # steps
    validate_every: int = 1000  # 0: never
    save_every: int = 1000  # 0: only at the end
    keep_checkpoints: int = 1
    merge: bool = False  # at the end also write the whole model, in OUTPUT/merged
    tensorboard: bool = False
    wandb_project: str = ""  # empty: no W&B
    lora: LoraSettings = dataclasses.field(default_factory=LoraSettings)
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
        choice("dtype", self.dtype, DTYPES)
        _not_negative("config", self, "seed", "validate_every", "save_every")
        self._validate_lora()
        self._validate_optimizer()
        self._validate_data()
        self._validate_augment()
        return self

    def _validate_lora(self) -> None:
        at_least_one("lora", self.lora, "rank")
        _not_negative("lora", self.lora, "alpha")
        require(bool(self.lora.targets), "lora.targets", self.lora.targets, f"some of {', '.join(TARGETS)}")
        for target in self.lora.targets:
            choice("lora.targets", target, TARGETS)

    def _validate_optimizer(self) -> None:
        settings = self.optimizer
        positive("optimizer", settings, "learning_rate", "eps")
        _not_negative("optimizer", settings, "warmup_steps", "weight_decay", "clip")
        for field in ("b1", "b2"):
            value = getattr(settings, field)
            require(0 <= value < 1, f"optimizer.{field}", value, "a number in [0, 1)")

    def _validate_data(self) -> None:
        data = self.data
        at_least_one("data", data, "batch_size", "validation_batches")
        require(bool(data.name), "data.name", data.name, "a name for the data set")
        require(bool(data.primary), "data.primary", data.primary, "the observation key of a camera")
        share = data.validation_share
        require(0 <= share < 1, "data.validation_share", share, "a number in [0, 1)")
        positive("data", data, "max_memory")
        right = f"a multiple of accumulation={self.accumulation}"
        require(data.batch_size % self.accumulation == 0, "data.batch_size", data.batch_size, right)

    def _validate_augment(self) -> None:
        augment = self.augment
        require(0 < augment.crop_area <= 1, "augment.crop_area", augment.crop_area, "a number in (0, 1]")
        for field in ("contrast", "saturation"):
            value = getattr(augment, field)
            holds = len(value) == 2 and 0 < value[0] <= value[1]
            require(holds, f"augment.{field}", value, "two positive numbers, the smaller one first")
        for field in ("brightness", "hue"):
            value = getattr(augment, field)
            require(0 <= value <= 0.5, f"augment.{field}", value, "a number in [0, 0.5]")


def _not_negative(owner: str, settings: Any, *fields: str) -> None:
    for field in fields:
        value = getattr(settings, field)
        require(value >= 0, f"{owner}.{field}", value, "at least 0")
