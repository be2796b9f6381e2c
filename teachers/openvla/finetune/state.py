"""Checkpoints of a fine-tuning run: what is trained and the optimizer's moments, in safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rpd_jax.report.files import atomic_path
from rpd_jax.validation import ConfigError

DIRECTORY = "checkpoints"
_HOST = "host"  # entry of the files' metadata


class StateStore:
    """The checkpoints of a run's directory, one file each; the newest `keep` stay."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._path, self._keep = directory / DIRECTORY, keep

    def save(self, step: int, tensors: Mapping[str, Tensor], host: Mapping[str, Any]) -> None:
        """Writes the checkpoint of `step` atomically, with `host` (JSON) beside the tensors, and deletes old ones."""
        self._path.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path / f"{step}.safetensors") as temporary:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
                temporary,
                metadata={_HOST: json.dumps(host)},
            )
        for old in self.steps()[: -self._keep]:
            (self._path / f"{old}.safetensors").unlink()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, rising; files that are being written do not count."""
        return sorted(int(path.stem) for path in self._path.glob("*.safetensors") if path.stem.isdigit())

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and `host` of the newest checkpoint. Raises ConfigError if it cannot be read."""
        path = self._path / f"{self.steps()[-1]}.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[_HOST])  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} cannot be resumed: it is damaged or of another program ({error})") from error
