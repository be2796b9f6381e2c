"""Settings that both fine-tunings have, and their checks; each has a `FinetuneSettings` of its own."""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from rpd_jax.output_directory import NUMBER, Kind
from rpd_jax.validation import at_least_one, from_dict, positive, require

SETTINGS_FILE = "finetune_config.json"  # of a run's directory
KIND = Kind(
    field="output",
    what="a run",
    file=SETTINGS_FILE,
    keys=frozenset({"seed", "steps", "accumulation", "save_every", "keep_checkpoints", "data", "optimizer"}),
    entries=(
        *("checkpoints", "metrics.jsonl", "tensorboard", "wandb"),
        *("dataset_statistics.json", "action_contract.json"),
        *(NUMBER, "config.json", "example_batch.msgpack", "vocabulary.json", "tokenizer.json"),  # Octo's
        *("adapter_config.json", "adapter_model.safetensors", "merged"),  # OpenVLA's
    ),
    leftovers=("metrics.jsonl", "checkpoints/*/train_state", "checkpoints/*.safetensors"),
)


@dataclasses.dataclass
class RunSettings:
    """A run, whatever is trained."""

    seed: int = 42
    steps: int = 50_000
    accumulation: int = 1  # micro-batches per step
    log_every: int = 100  # steps
    validate_every: int = 5000  # 0: never
    save_every: int = 5000  # 0: only at the end
    keep_checkpoints: int = 1
    tensorboard: bool = True
    wandb_project: str = ""  # empty: no W&B

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; raises ConfigError for unknown fields."""
        return from_dict(cls, values, "config")

    def record(self) -> dict[str, Any]:
        """As the run's settings file has them: lists for tuples."""
        return json.loads(json.dumps(self.to_dict()))

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        at_least_one("config", self, "steps", "accumulation", "log_every", "keep_checkpoints")
        not_negative("config", self, "seed", "validate_every", "save_every")
        return self


@dataclasses.dataclass
class RecordedData:
    """What is read of demonstrations, and what is held out: a `teachers.recordings.Selection`."""

    primary: str = "rgb"  # observation key of the camera, image_primary
    mask: tuple[bool, ...] = ()  # action dimensions that are normalised; empty: all but the last, the gripper
    successes_only: bool = False  # leave out episodes that failed
    validation_share: float = 0.05  # of the episodes of each file, held out
    validation_batches: int = 4  # per validation
    max_memory: float = 8.0  # GiB of frames kept in memory; more are kept in a temporary file


def not_negative(owner: str, settings: Any, *fields: str) -> None:
    """Raises ConfigError for the first of `fields` that is below 0."""
    for field in fields:
        value = getattr(settings, field)
        require(value >= 0, f"{owner}.{field}", value, "at least 0")


def check_adamw(optimizer: Any) -> None:
    """Raises ConfigError for the first impossible setting of AdamW, with its warm-up and clip."""
    positive("optimizer", optimizer, "learning_rate", "eps")
    not_negative("optimizer", optimizer, "warmup_steps", "weight_decay", "clip")
    for field in ("b1", "b2"):
        value = getattr(optimizer, field)
        require(0 <= value < 1, f"optimizer.{field}", value, "a number in [0, 1)")


def check_data(data: Any, accumulation: int) -> None:
    """Raises ConfigError for the first impossible setting of `RecordedData` and its `batch_size`."""
    at_least_one("data", data, "batch_size", "validation_batches")
    share = data.validation_share
    require(0 <= share < 1, "data.validation_share", share, "a number in [0, 1)")
    positive("data", data, "max_memory")
    right = f"a multiple of accumulation={accumulation}"
    require(data.batch_size % accumulation == 0, "data.batch_size", data.batch_size, right)


def check_augment(augment: Any, *ranges: str) -> None:
    """Raises ConfigError for the first of `ranges`, brightness and hue that is impossible."""
    for field in ranges:
        value = getattr(augment, field)
        holds = len(value) == 2 and 0 < value[0] <= value[1]
        require(holds, f"augment.{field}", value, "two positive numbers, the smaller one first")
    for field in ("brightness", "hue"):
        value = getattr(augment, field)
        require(0 <= value <= 0.5, f"augment.{field}", value, "a number in [0, 0.5]")
