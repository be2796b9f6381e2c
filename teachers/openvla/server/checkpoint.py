"""Reading checkpoints in the layout of Hugging Face: every tensor is accounted for before one is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.files import tensor_files
from teachers.openvla.server.finite import check_finite
from teachers.openvla.server.lora import Adapter
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.quantize import BYTES_PER_WEIGHT, linear_names, quantize, require_bitsandbytes

_RECOMPUTED = re.compile(r".*rotary_emb\.inv_freq")
_LISTED = 8
Shapes = dict[str, tuple[int, ...]]


def load_model(
    directory: Path,
    dtype: torch.dtype,
    device: torch.device,
    adapter: Path | None = None,
    reserve: int = 0,
    remedy: str = "use a smaller batch",
    four_bits: bool = False,
) -> OpenVLA:
    """An official checkpoint or a fine-tune that was saved like one.

    Args:
      directory: with config.json and safetensors files.
      dtype: of parameters and activations.
      adapter: a PEFT directory with LoRA matrices, which are added to the weights.
      reserve: bytes of device memory that must remain free.
      remedy: what the error says where they are not.
      four_bits: quantise the language model's layers.
    Raises:
      ValueError: a file is missing, tensors are missing, superfluous, of another shape or not finite, or the memory is
        too small.
    """
    config = ModelConfig.from_dict(read_json(directory / "config.json"))
    files = tensor_files(directory)
    found = read_shapes(files)
    proprio = found.get("proprio_projector.fc1.weight")  # of some OpenVLA-OFT checkpoints; others have a file for it
    model = empty_model(config, None if proprio is None else proprio[-1])
    unused = model.unused_shapes()
    check_tensors(str(directory), expected_shapes(model), unused, found)
    used = model.state_dict()
    merge = Adapter.read(adapter, used, unused) if adapter is not None else None
    check_memory(weight_bytes(model, dtype, four_bits) + reserve, free_memory(device), device, remedy)
    if four_bits:
        require_bitsandbytes()
    first = torch.device("cpu") if four_bits else device
    state: dict[str, Tensor] = {}
    for path in files:
        with _open(path, first) as file:
            for name in file.keys():  # noqa: SIM118  (it is not a mapping)
                if name in used:
                    tensor = file.get_tensor(name).to(dtype)
                    check_finite(path, {name: tensor})
                    state[name] = tensor if merge is None else merge(name, tensor)
    model.load_state_dict(state, assign=True)
    model.language_model.restore_buffers(device)
    if four_bits:
        quantize(model.language_model.model.layers, device)
        model.to(device)
    return model.requires_grad_(False).eval()


def empty_model(config: ModelConfig, proprio_dim: int | None = None) -> OpenVLA:
    """The network without storage."""
    with torch.device("meta"):
        return OpenVLA(config, proprio_dim)


def expected_shapes(model: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def read_shapes(files: list[Path]) -> Shapes:
    """Names and shapes of all tensors, from the files' headers. Raises ValueError if a name comes twice."""
    found: Shapes = {}
    for path in files:
        with _open(path, torch.device("cpu")) as file:
            for name in file.keys():  # noqa: SIM118
                if name in found:
                    raise ValueError(f"{path}: {name} is in another file too")
                found[name] = tuple(file.get_slice(name).get_shape())
    return found


def check_tensors(where: str, expected: Shapes, unused: Shapes, found: Shapes) -> None:
    """Raises ValueError unless the tensors are those of the network and nothing else.

    Args:
      where: what to call them in the message.
      expected: the network's parameters.
      unused: what may be there and is left out; its shape is checked all the same.
      found: what is there.
    """
    known = expected | unused
    extra = [name for name in found if name not in known and not _RECOMPUTED.fullmatch(name)]
    problems = {
        "missing": [name for name in expected if name not in found],
        "superfluous": extra,
        "of another shape": [
            f"{name} {found[name]} instead of {shape}"
            for name, shape in known.items()
            if found.get(name, shape) != shape
        ],
    }
    said = [f"{len(names)} {problem}: {_some(names)}" for problem, names in problems.items() if names]
    if said:
        raise ValueError(f"{where}: tensors {'; '.join(said)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def weight_bytes(model: OpenVLA, dtype: torch.dtype, four_bits: bool) -> int:
    """Bytes of the parameters on the device."""
    count = sum(each.numel() for each in model.state_dict().values())
    if not four_bits:
        return count * dtype.itemsize
    layers = model.language_model.model.layers
    small = sum(layers.get_submodule(name).weight.numel() for name in linear_names(layers))
    return int((count - small) * dtype.itemsize + small * BYTES_PER_WEIGHT)


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a GPU; None for other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def check_memory(needed: int, free: int | None, device: torch.device, remedy: str) -> None:
    """Raises ValueError, with the remedy, if more bytes are needed than are free."""
    if free is not None and needed > free:
        needed_gib, free_gib = (each / 2**30 for each in (needed, free))
        raise ValueError(
            f"{device} has {free_gib:.1f} GiB free, the model needs {needed_gib:.1f} GiB with its work: {remedy}"
        )


def _open(path: Path, device: torch.device) -> safe_open:
    try:
        return safe_open(path, framework="pt", device=str(device))
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or incomplete ({error})") from None


def strip_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Without a prefix that some or all names carry (`module.`, of distributed training)."""
    return {name.removeprefix(prefix): value for name, value in state.items()}
