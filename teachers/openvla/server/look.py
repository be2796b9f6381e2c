"""Looks a checkpoint over before anything is started: files, keys, statistics, image size, needed memory.

No weight is read, and torch is not needed. What the network expects tensor by tensor is compared when it is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.files import ADAPTER_WEIGHTS, find_base, header, statistics_of, tensor_files
from teachers.openvla.server.oft.settings import PLATFORMS, OFTSettings
from teachers.openvla.server.statistics import BOUNDS, select_statistics

BYTES = {"bf16": 2.0, "f32": 4.0, "nf4": 0.5625}
"""Of a weight; in four bits, of the language model's layers, the others have two bytes."""
_PARTS = ("vision_backbone.", "projector.", "language_model.")
_LAYER = re.compile(r"language_model\.model\.layers\.(\d+)\.")


class Looked(NamedTuple):
    """What a checkpoint's small files and the heads of its large ones say."""

    base: Path
    adapter: Path | None
    config: ModelConfig
    statistics: dict[str, Any]  # of the chosen data set
    parameters: int
    weight_bytes: int  # on the device, in the chosen number format


def look(
    path: Path, *, base: str | Path = "", oft: OFTSettings | None = None, key: str = "", dtype: str = "bf16"
) -> Looked:
    """Looks over a checkpoint, or an adapter and the checkpoint that it is added to.

    Args:
      path, base: see `find_base`.
      oft: what an OpenVLA-OFT checkpoint was trained for; None: it is OpenVLA's.
      key: of the statistics; empty: the only ones.
      dtype: in which it is to be served.
    Raises:
      ValueError: one line, for the first thing that is missing, damaged or does not fit.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is no directory: name that of a checkpoint, or hf://org/name")
    directory, adapter = find_base(path, None, base)
    config = ModelConfig.from_dict(read_json(directory / "config.json"))
    statistics = select_statistics(*statistics_of(directory, adapter, config), key or None)
    if not (directory / "tokenizer.json").is_file():
        raise ValueError(f"{directory} has no tokenizer.json")
    sizes = {tuple(each[1:]) for each in read_json(directory / "preprocessor_config.json").get("input_sizes", ())}
    side = config.towers[0].image_size
    if sizes != {(side, side)}:
        raise ValueError(f"{directory}: preprocessor_config.json has input_sizes {sorted(sizes)}, config.json {side}")
    tensors = _tensors(directory, config)
    if adapter is not None:
        if not (adapter / ADAPTER_WEIGHTS).is_file():
            raise ValueError(f"{adapter} has no {ADAPTER_WEIGHTS}")
        header(adapter / ADAPTER_WEIGHTS)
    _check_heads(path, tensors, statistics, oft)
    sizes_of = {name: math.prod(each["shape"]) for name, each in tensors.items()}
    layers = sum(size for name, size in sizes_of.items() if _LAYER.match(name) and dtype == "nf4")
    total = sum(sizes_of.values())
    rest = BYTES["bf16"] if dtype == "nf4" else BYTES[dtype]
    return Looked(directory, adapter, config, statistics, total, int(layers * BYTES["nf4"] + (total - layers) * rest))


def _tensors(directory: Path, config: ModelConfig) -> dict[str, Any]:
    """All tensors of the files' heads. Raises ValueError where a part of the network, or a layer, is missing."""
    found: dict[str, Any] = {}
    for file in tensor_files(directory):
        found |= header(file)
    listed = set()
    if (index := directory / "model.safetensors.index.json").is_file():
        listed = set(read_json(index)["weight_map"])
    if missing := sorted(listed - set(found)):
        raise ValueError(f"{directory}: {len(missing)} tensors of the index are in no file, {missing[0]} is the first")
    if absent := [part for part in _PARTS if not any(name.startswith(part) for name in found)]:
        raise ValueError(f"{directory} has no tensors of {', '.join(absent)}: it is no checkpoint of OpenVLA")
    layers = len({number[1] for name in found if (number := _LAYER.match(name))})
    if layers != (wanted := int(config.text.get("num_hidden_layers", 32))):
        raise ValueError(f"{directory} has {layers} layers of the language model, config.json names {wanted}")
    return found


def _check_heads(
    path: Path, tensors: Mapping[str, Any], statistics: Mapping[str, Any], oft: OFTSettings | None
) -> None:
    """Raises ValueError unless the extra files and the statistics are those of what the checkpoint was trained for."""
    own_projector = any(name.startswith("proprio_projector.") for name in tensors)
    heads = sorted(each.name for each in path.glob("*--*_checkpoint.pt"))
    if oft is None:
        if heads or own_projector:
            raise ValueError(foreign(path, heads[0] if heads else "a proprio_projector"))
        return
    needed = {
        "action_head": oft.head != "tokens",
        "proprio_projector": bool(oft.proprio) and not own_projector,
        "noisy_action_projector": oft.head == "diffusion",
        "vision_backbone": oft.film,
    }
    for name in (name for name, is_needed in needed.items() if is_needed):
        if len(list(path.glob(f"{name}--*_checkpoint.pt"))) != 1:
            said = ", ".join(heads) or "none"
            raise ValueError(f"{path}: need one {name}--<step>_checkpoint.pt, of such files there is {said}")
    for entry, size in (("action", oft.action_dim), ("proprio", oft.proprio_dim)):
        found = len(statistics.get(entry, {}).get(BOUNDS[oft.normalization][0], ()))
        if size is not None and found != size:
            raise ValueError(f"oft: {size} numbers of {entry} are named, the checkpoint's statistics have {found}")


def foreign(path: str | Path, found: str) -> str:
    """What is said of an OpenVLA-OFT checkpoint that nobody has called one."""
    return (
        f"{path} holds {found}: it is OpenVLA-OFT's, say what it was trained for with --oft=<platform> (teacher.oft), "
        f"one of {', '.join(PLATFORMS)}, or fields; in a program load it with OFTPolicy"
    )
