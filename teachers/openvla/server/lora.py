"""LoRA adapters, added to the weights they were trained on."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from teachers.openvla.server.config import read_json
from teachers.openvla.server.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from teachers.openvla.server.finite import check_finite

PREFIX = "base_model.model."
_MATRIX = re.compile(r".*\.lora_[AB]\.weight")
_REFUSED = ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save")
"""Settings of PEFT that change what has to be added, and are not supported."""


def merged(weight: Tensor, a: Tensor, b: Tensor, factor: float) -> Tensor:
    """weight + factor b a, computed in float32; of the weight's type."""
    return (weight.float() + factor * (b.float() @ a.float())).to(weight.dtype)


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Adds what belongs to a weight, by name."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]  # weight's name -> matrices A [r, in] and B [out, r]
    factor: float

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        if name not in self.pairs:
            return weight
        a, b = (each.to(weight.device) for each in self.pairs[name])
        return merged(weight, a, b, self.factor)

    @classmethod
    def read(cls, directory: Path, weights: Mapping[str, Tensor], unused: Collection[str] = ()) -> Adapter:
        """From PEFT's adapter_config.json and adapter_model.safetensors.

        Args:
          weights: the network's parameters.
          unused: names of weights that the network leaves out; matrices for them are left out too.
        Raises:
          ValueError: a file is missing, the settings are not plain LoRA, or a matrix lacks its partner or its weight.
        """
        config = read_json(directory / ADAPTER_CONFIG)
        refused = {name: config[name] for name in _REFUSED if config.get(name)}
        if config.get("peft_type", "LORA") != "LORA" or config.get("bias", "none") != "none" or refused:
            raise ValueError(
                f"{directory / 'adapter_config.json'}: only plain LoRA is supported, not {refused or config}"
            )
        path = directory / ADAPTER_WEIGHTS
        if not path.is_file():
            raise ValueError(f"{directory} has no {ADAPTER_WEIGHTS}")
        try:
            matrices = {name.removeprefix(PREFIX): value for name, value in load_file(path).items()}
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged or incomplete ({error})") from None
        check_finite(path, matrices)
        strange = [name for name in matrices if not _MATRIX.fullmatch(name)]
        if strange:
            raise ValueError(f"{path}: {sorted(strange)[:8]} are no LoRA matrices")
        pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for name in sorted({name.rpartition(".lora_")[0] for name in matrices}):
            a, b = (matrices.get(f"{name}.lora_{side}.weight") for side in "AB")
            if a is None or b is None:
                raise ValueError(f"{path}: {name} lacks lora_A.weight or lora_B.weight")
            pairs[f"{name}.weight"] = (a, b)
        return cls(_checked(path, pairs, weights, unused), _factor(config))


def _factor(config: Mapping[str, float]) -> float:
    rank = config["r"]
    return config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)


def _checked(
    path: Path, pairs: Mapping[str, tuple[Tensor, Tensor]], weights: Mapping[str, Tensor], unused: Collection[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    kept = {}
    for name, (a, b) in pairs.items():
        if name in unused:
            continue
        if name not in weights:
            raise ValueError(f"{path}: the network has no {name}")
        if tuple(weights[name].shape) != (len(b), a.shape[1]):
            raise ValueError(
                f"{path}: {name} is {tuple(weights[name].shape)}, its matrices make {(len(b), a.shape[1])}"
            )
        kept[name] = (a, b)
    return kept
