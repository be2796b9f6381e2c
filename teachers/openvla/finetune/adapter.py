"""LoRA matrices beside a model's linear layers, by PEFT, and their files."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
STUDENT = "default"  # PEFT's name of what is trained


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
    names = linear_names(model, settings.targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = inject(model, STUDENT, settings.rank, settings.scaled_by, names)
    model.requires_grad_(False)
    for parameter in found.values():
        parameter.requires_grad_(True)
    return found


def inject(model: nn.Module, adapter: str, rank: int, alpha: float, layers: Sequence[str]) -> dict[str, nn.Parameter]:
    """Adds the matrices of an adapter beside the layers at these paths; A is drawn with torch's generator, B zero.

    Returns the float32 matrices by their names in PEFT's file.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, init_lora_weights="gaussian", target_modules=list(layers)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # a second adapter is meant to be one
        inject_adapter_in_model(config, model, adapter_name=adapter)
    found = matrices_of(model, adapter)
    for parameter in found.values():
        parameter.data = parameter.data.float()
    return found


def matrices_of(model: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    """The matrices of one of the adapters that were added to a model, by their names in PEFT's file."""
    found = ((name.partition(f".{adapter}."), each) for name, each in model.named_parameters() if ".lora_" in name)
    return {f"{PREFIX}{stem}.{kind}": each for (stem, here, kind), each in found if here}


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
