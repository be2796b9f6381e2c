"""Every setting of a fine-tuning run and its default: the official LoRA recipe of OpenVLA, for one GPU.

Treat settings as read-only once `validate` has passed.
"""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses
from typing import Self

from rpd_jax.validation import at_least_one, choice, require
from teachers.finetuning.settings import RecordedData, RunSettings, check_adamw, check_augment, check_data, not_negative

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
class DataSettings(RecordedData):
    """From episodes to batches: a sample is a frame, its instruction and the action."""

    batch_size: int = 16  # of a step, over all of its micro-batches
    name: str = "demonstrations"  # of the data set, in dataset_statistics.json


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
class FinetuneSettings(RunSettings):
    """A whole fine-tuning run."""

    dtype: str = "bf16"  # of the frozen weights and the computation: bf16 | f32; what is trained stays float32
    device: str = ""  # as torch names it; empty: the GPU if there is one
    gradient_checkpointing: bool = False  # compute the language model's activations twice: slower, less memory
    log_every: int = 50  # steps
    validate_every: int = 1000  # 0: never
    save_every: int = 1000  # 0: only at the end
    merge: bool = False  # at the end also write the whole model, in OUTPUT/merged
    tensorboard: bool = False
    lora: LoraSettings = dataclasses.field(default_factory=LoraSettings)
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        super().validate()
        choice("dtype", self.dtype, DTYPES)
        self._validate_lora()
        check_adamw(self.optimizer)
        check_data(self.data, self.accumulation)
        require(bool(self.data.name), "data.name", self.data.name, "a name for the data set")
        require(bool(self.data.primary), "data.primary", self.data.primary, "the observation key of a camera")
        area = self.augment.crop_area
        require(0 < area <= 1, "augment.crop_area", area, "a number in (0, 1]")
        check_augment(self.augment, "contrast", "saturation")
        return self

    def _validate_lora(self) -> None:
        at_least_one("lora", self.lora, "rank")
        not_negative("lora", self.lora, "alpha")
        require(bool(self.lora.targets), "lora.targets", self.lora.targets, f"some of {', '.join(TARGETS)}")
        for target in self.lora.targets:
            choice("lora.targets", target, TARGETS)
