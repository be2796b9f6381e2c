"""LoRA matrices beside a model's linear layers, by PEFT, and their files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor, nn

from rpd_jax.runs.files import atomic_path, write_json
from rpd_jax.types import ActionContract
from teachers.conventions import CONTRACT_FILE
from teachers.openvla.finetune.settings import LoraSettings
from teachers.openvla.server.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PREFIX
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.statistics import STATISTICS_FILE

_HEAD = "language_model.lm_head"
_NAME = "default"  # PEFT's, of the only adapter


def linear_names(model: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Paths of the linear layers in these parts of the model, without the output matrix."""
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in found if name.split(".", 1)[0] in targets and name != _HEAD]


def add_lora(model: OpenVLA, settings: LoraSettings, seed: int) -> dict[str, nn.Parameter]:
    """Adds matrices that leave the model's outputs as they are, and freezes everything else.

    Args:
      model: changed in place.
      seed: of the matrices A; they are drawn on the host, the same for every device.
    Returns:
      The float32 matrices by their names in PEFT's file.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scaled_by,
        lora_dropout=0.0,
        init_lora_weights="gaussian",
        target_modules=linear_names(model, settings.targets),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    found = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            found[PREFIX + name.replace(f".{_NAME}.", ".")] = parameter
    return found


def adapter_config(matrices: Iterable[str], settings: LoraSettings, base: Path) -> dict[str, Any]:
    """The content of adapter_config.json.

    Args:
      matrices: names, as `add_lora` gives them.
      base: directory of the checkpoint that the matrices are added to.
    """
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scaled_by,
        lora_dropout=0.0,
        init_lora_weights="gaussian",
        inference_mode=True,
        base_model_name_or_path=str(base.resolve()),
        target_modules=sorted({name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in matrices}),
    ).to_dict()
    config["target_modules"] = sorted(config["target_modules"])  # PEFT has a set
    return json.loads(json.dumps(config))


def write_description(
    directory: Path, config: Mapping[str, Any], statistics: Mapping[str, Any], contract: ActionContract | None
) -> None:
    """Writes what goes with the matrices: PEFT's settings, statistics by data set, what the actions mean if known."""
    write_json(directory / STATISTICS_FILE, statistics)
    if contract is not None:
        write_json(directory / CONTRACT_FILE, dataclasses.asdict(contract))
    write_json(directory / ADAPTER_CONFIG, config)


def write_weights(directory: Path, matrices: Mapping[str, Tensor]) -> None:
    """Writes the matrices, float32."""
    with atomic_path(directory / ADAPTER_WEIGHTS) as temporary:
        tensors = {name: matrix.detach().cpu().contiguous() for name, matrix in matrices.items()}
        save_file(tensors, temporary, metadata={"format": "pt"})
