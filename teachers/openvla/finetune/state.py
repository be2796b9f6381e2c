"""Checkpoints of a fine-tuning run: what is trained and the optimizer's moments, in safetensors files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from absl import logging
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rpd_jax.config.validation import ConfigError
from rpd_jax.runs.files import atomic_path
from rpd_jax.runs.output_directory import remove_temporaries, set_aside
from teachers.finetuning.run import digest

DIRECTORY = "checkpoints"
_SAMPLED = 2**20  # bytes at the end of a file that tell checkpoints apart
_HOST, _DIGEST = "host", "sha256"  # entries of the files' metadata


class StateStore:
    """The checkpoints of a claimed run directory, one file each; the newest `keep` stay."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory, self._path, self._keep = directory, directory / DIRECTORY, keep
        remove_temporaries(self._path)

    def save(self, step: int, tensors: Mapping[str, Tensor], host: Mapping[str, Any]) -> None:
        """Writes the checkpoint of `step` atomically, with `host` (JSON) beside the tensors, and deletes old ones."""
        self._path.mkdir(parents=True, exist_ok=True)
        kept = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        described = json.dumps(host)
        with atomic_path(self._file(step)) as temporary:
            save_file(kept, temporary, metadata={_HOST: described, _DIGEST: _digest(kept, described)})
        for old in self.steps()[: -self._keep]:
            self._file(old).unlink()

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, rising; files that are being written do not count."""
        return sorted(int(path.stem) for path in self._path.glob("*.safetensors") if path.stem.isdecimal())

    def resume(self, given: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and `host` of the newest intact checkpoint; damaged ones are set aside, with a warning.

        Raises ConfigError if none can be read, or if the run was `given` something else, by its own account.
        """
        damaged: list[ConfigError] = []
        for step in self.steps()[::-1]:
            try:
                found = self._load(self._file(step))
            except ConfigError as error:
                damaged.append(error)
                continue
            if damaged:
                newer = [str(self._file(each).relative_to(self._directory)) for each in self.steps() if each > step]
                place = set_aside(self._directory, newer)
                logging.warning("%s; going on from step %d, and moved %s to %s", damaged[0], step, newer, place)
            for what, before in found[1].get("given", {}).items():
                if before != given[what]:
                    raise ConfigError(f"{what}: not what the run to resume was given; give the same")
            return found
        raise damaged[0]

    def _file(self, step: int) -> Path:
        return self._path / f"{step}.safetensors"

    def _load(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            with safe_open(path, framework="pt") as file:
                tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
            if metadata.get(_DIGEST, "") not in ("", _digest(tensors, metadata[_HOST])):  # older versions have none
                raise ValueError("it differs from what was saved, by its SHA-256")
            return tensors, json.loads(metadata[_HOST])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path} cannot be resumed: it is damaged or of another program ({error})") from error


def digest_of_files(files: Sequence[Path]) -> str:
    """Of the size and the end of each file: enough to tell checkpoints apart, without reading all of them."""
    found = []
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _SAMPLED))
            found += [str(size).encode(), file.read()]
    return digest(found)


def _digest(tensors: Mapping[str, Tensor], host: str) -> str:
    """SHA-256 of tensors in the host's memory, and of what is beside them."""
    found = hashlib.sha256(host.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
