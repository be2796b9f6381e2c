"""A whole checkpoint with an adapter added, for programs that read nothing else."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from teachers.conventions import CONTRACT_FILE
from teachers.openvla.server.checkpoint import empty_model, tensor_files
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.lora import Adapter
from teachers.openvla.server.statistics import STATISTICS_FILE
from teachers.serving import SERVING_FILE

DIRECTORY = "merged"


def write_merged(checkpoint: Path, adapter: Path, directory: Path) -> None:
    """Writes a copy of a checkpoint, of its number format, with the matrices added and the adapter's statistics.

    It appears whole or not at all, and replaces what was there. One tensor file at a time is in memory.

    Args:
      checkpoint: directory that the matrices were trained on.
      adapter: directory of the matrices, as `finetune` leaves it.
      directory: where to write.
    Raises:
      ValueError: checkpoint and adapter do not fit.
    """
    model = empty_model(ModelConfig.from_dict(read_json(checkpoint / "config.json")))
    merge = Adapter.read(adapter, model.state_dict(), model.unused_shapes())
    files = tensor_files(checkpoint)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        for path in files:
            tensors = {name: merge(name, tensor) for name, tensor in load_file(path).items()}
            save_file(tensors, temporary / path.name, metadata={"format": "pt"})
        for path in checkpoint.iterdir():
            if path.is_file() and path.suffix != ".safetensors":
                shutil.copy(path, temporary)
        for name in (STATISTICS_FILE, CONTRACT_FILE, SERVING_FILE):
            if (adapter / name).is_file():
                shutil.copy(adapter / name, temporary)
        if directory.exists():
            shutil.rmtree(directory)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
