"""The language model's weights in four bits (NF4), with bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_BLOCK = 64
BYTES_PER_WEIGHT = 0.5 + 4 / _BLOCK
"""Four bits, and a float32 scale for every block."""


def require_bitsandbytes() -> Any:
    """The module. Raises ValueError that says what to install if it is not there."""
    try:
        import bitsandbytes
    except ImportError:
        raise ValueError("dtype='nf4' needs bitsandbytes: pip install 'bitsandbytes>=0.46'") from None
    return bitsandbytes


def linear_names(layers: nn.Module) -> list[str]:
    """Names of the linear layers below a module: those that are quantised."""
    return [name for name, module in layers.named_modules() if isinstance(module, nn.Linear)]


def quantize(layers: nn.Module, device: torch.device) -> None:
    """Replaces every linear layer below a module, one after the other, and moves it to the device.

    Args:
      layers: on the CPU; its linear layers have no bias.
      device: where the products are computed.
    """
    library = require_bitsandbytes()
    for name in linear_names(layers):
        linear = layers.get_submodule(name)
        four = library.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=False, compute_dtype=linear.weight.dtype, quant_type="nf4"
        )
        four.weight = library.nn.Params4bit(
            linear.weight.data, requires_grad=False, quant_type="nf4", blocksize=_BLOCK, module=four
        )
        parent, _, last = name.rpartition(".")
        setattr(layers.get_submodule(parent), last, four.to(device))  # moving it quantises
