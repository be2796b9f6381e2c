"""Settings that both fine-tunings have, and their checks; each has a `FinetuneSettings` of its own."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from rpd_jax.config.validation import Settings, check, from_dict, require, setting, to_dict
from rpd_jax.runs.output_directory import NUMBER, Kind

SETTINGS_FILE = "finetune_config.json"  # of a run's directory
KIND = Kind(
    field="output",
    what="a run",
    file=SETTINGS_FILE,
    keys=frozenset({"seed", "steps", "accumulation", "save_every", "keep_checkpoints", "data", "optimizer"}),
    entries=(
        *("checkpoints", "metrics.jsonl", "tensorboard", "wandb"),
        *("dataset_statistics.json", "action_contract.json", "serving.json", "trained_on.json"),
        *(NUMBER, "config.json", "example_batch.msgpack", "vocabulary.json", "tokenizer.json"),  # Octo's
        *("adapter_config.json", "adapter_model.safetensors", "merged"),  # OpenVLA's
    ),
    leftovers=("metrics.jsonl", "checkpoints/*/train_state", "checkpoints/*.safetensors"),
)


@dataclasses.dataclass
class RunSettings(Settings):
    """A run, whatever is trained."""

    seed: int = setting(42, low=0)  # all draws follow from it
    steps: int = setting(50_000, low=1)  # of the optimizer
    log_every: int = setting(100, low=1)  # steps
    validate_every: int = setting(5000, low=0)  # 0: never
    save_every: int = setting(5000, low=0)  # 0: only at the end
    keep_checkpoints: int = setting(1, low=1)  # the newest so many
    tensorboard: bool = True  # also write TensorBoard's event files
    wandb_project: str = ""  # empty: no W&B

    def to_dict(self) -> dict[str, Any]:
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; raises ConfigError for unknown fields and for values that no field can have."""
        return from_dict(cls, values)

    def record(self) -> dict[str, Any]:
        """As the run's settings file has them: lists for tuples."""
        return json.loads(json.dumps(self.to_dict()))

    def validate(self) -> Self:
        """Raises ConfigError for the first impossible value; returns self."""
        check(self)
        return self


@dataclasses.dataclass
class RecordedData(Settings):
    """What is read of demonstrations, and what is held out: a `teachers.recordings.Selection`."""

    primary: str = "rgb"  # observation key of the camera, image_primary
    mask: tuple[bool, ...] = ()  # action dimensions that are normalised; empty: all but the last, the gripper
    successes_only: bool = False  # leave out episodes that failed
    validation_share: float = setting(0.05, low=0, below=1)  # of the episodes of each file, held out
    validation_batches: int = setting(4, low=1)  # per validation
    max_memory: float = setting(8.0, above=0)  # GiB of frames kept in memory; more are kept in a temporary file


def check_batch(batch_size: int, accumulation: int) -> None:
    """Raises ConfigError unless a batch is made of `accumulation` micro-batches of one size."""
    require(batch_size % accumulation == 0, "data.batch_size", batch_size, f"a multiple of accumulation={accumulation}")


def check_ranges(augment: Any, *ranges: str) -> None:
    """Raises ConfigError for the first of `ranges` whose ends are in the wrong order."""
    for field in ranges:
        low, high = getattr(augment, field)
        require(low <= high, f"augment.{field}", (low, high), "two positive numbers, the smaller one first")
