"""Every setting of a fine-tuning run and its default: the official LoRA recipe of OpenVLA, for one GPU.

Treat settings as read-only once `validate` has passed.
"""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
from typing import Self

from rpd_jax.config.validation import Settings, require, setting
from teachers.finetuning.settings import RecordedData, RunSettings, check_batch, check_ranges

DTYPES = ("bf16", "f32")
TARGETS = ("vision_backbone", "projector", "language_model")


@dataclasses.dataclass
class LoraSettings(Settings):
    """Low-rank matrices beside linear layers; without dropout, A begins Gaussian and B zero."""

    rank: int = setting(32, low=1)  # of the matrices that are added
    alpha: int = setting(0, low=0)  # what is added has the factor alpha / rank; 0: the rank, but at most 16
    # Parts of the model whose linear layers get them; never the output matrix.
    targets: tuple[str, ...] = setting(TARGETS, choices=TARGETS, required=True, right=f"some of {', '.join(TARGETS)}")

    @property
    def scaled_by(self) -> int:
        """The alpha in force."""
        return self.alpha or min(self.rank, 16)


@dataclasses.dataclass
class OptimizerSettings(Settings):
    """AdamW at a constant rate."""

    learning_rate: float = setting(5e-4, above=0)  # after the warm-up
    warmup_steps: int = setting(0, low=0)  # linear, from 0
    b1: float = setting(0.9, low=0, below=1)  # decay of Adam's first moment
    b2: float = setting(0.999, low=0, below=1)  # decay of its second moment
    eps: float = setting(1e-8, above=0)  # Adam's
    weight_decay: float = setting(0.01, low=0)  # torch's default
    clip: float = setting(0.0, low=0)  # global norm of the gradient; 0: none


@dataclasses.dataclass
class DataSettings(RecordedData):
    """From episodes to batches: a sample is a frame, its instruction and the action."""

    batch_size: int = setting(16, low=1)  # of a step, over all of its micro-batches
    name: str = setting("demonstrations", required=True)  # of the data set, in dataset_statistics.json


@dataclasses.dataclass
class AugmentSettings(Settings):
    """Image augmentation, drawn anew for every sample. A model trained with it is to be served with center_crop."""

    enabled: bool = True  # False: frames as they were recorded
    crop_area: float = setting(0.9, above=0, high=1)  # of the image
    brightness: float = setting(0.2, low=0, high=0.5)  # added, up to +-
    contrast: tuple[float, float] = setting((0.8, 1.2), above=0)  # factors
    saturation: tuple[float, float] = setting((0.8, 1.2), above=0)  # factors
    hue: float = setting(0.05, low=0, high=0.5)  # turns of the colour circle, up to +-


@dataclasses.dataclass
class FinetuneSettings(RunSettings):
    """A whole fine-tuning run."""

    accumulation: int = setting(1, low=1)  # micro-batches per step
    # Of the frozen weights and the computation; what is trained stays float32.
    dtype: str = setting("bf16", choices=DTYPES)
    device: str = ""  # as torch names it; empty: the GPU if there is one
    gradient_checkpointing: bool = False  # compute the language model's activations twice: slower, less memory
    log_every: int = setting(50, low=1)  # steps
    validate_every: int = setting(1000, low=0)  # 0: never
    save_every: int = setting(1000, low=0)  # 0: only at the end
    merge: bool = False  # at the end also write the whole model, in OUTPUT/merged
    tensorboard: bool = False
    lora: LoraSettings = dataclasses.field(default_factory=LoraSettings)
    optimizer: OptimizerSettings = dataclasses.field(default_factory=OptimizerSettings)
    data: DataSettings = dataclasses.field(default_factory=DataSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        super().validate()
        check_batch(self.data.batch_size, self.accumulation)
        require(bool(self.data.primary), "data.primary", self.data.primary, "the observation key of a camera")
        check_ranges(self.augment, "contrast", "saturation")
        return self
