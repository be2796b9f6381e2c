"""Everything that a policy needs from a checkpoint directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from teachers.openvla.server.action_tokens import ActionTokens
from teachers.openvla.server.checkpoint import load_model
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.preprocessing import Preprocessor
from teachers.openvla.server.prompts import Prompter
from teachers.openvla.server.statistics import read_statistics, select_statistics

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32, "nf4": torch.bfloat16}
"""Names of number formats -> type of activations; "nf4" has the language model's weights in four bits."""
_PROMPT = 40
"""Tokens of a long prompt, for estimates of memory."""


class Parts(NamedTuple):
    model: OpenVLA
    prompter: Prompter
    preprocessor: Preprocessor
    statistics: dict[str, Any]  # of the chosen data set
    tokens: ActionTokens


def load_parts(
    path: str | Path,
    *,
    dtype: str = "bf16",
    device: str | None = None,
    statistics_key: str | None = None,
    center_crop: bool = False,
    libero: bool = False,
    template: str | None = None,
    adapter: str | Path | None = None,
    max_batch: int = 32,
    images: int = 1,
) -> Parts:
    """Reads a checkpoint; what is wrong with its small files is said before the large ones are read.

    Args:
      path: directory in the layout of Hugging Face.
      dtype: "bf16", "f32", or "nf4" (four bits, with bitsandbytes).
      device: as torch names it; None: the GPU if there is one.
      statistics_key: data set whose statistics undo the normalisation; None where there is only one.
      center_crop, libero: see `Preprocessor`.
      template: see `Prompter`.
      adapter: a PEFT directory of LoRA matrices to add.
      max_batch: sequences computed at a time, for the estimate of memory.
      images: of one observation, likewise.
    Raises:
      ValueError: something is missing, unknown, or does not fit.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown: choose from {sorted(DTYPES)}")
    if max_batch < 1:
        raise ValueError(f"max_batch={max_batch}: need at least 1")
    directory = Path(path)
    config = ModelConfig.from_dict(read_json(directory / "config.json"))
    statistics = select_statistics(*read_statistics(directory, config.norm_stats), statistics_key)
    prompter = Prompter(directory, template)
    preprocessor = Preprocessor.from_checkpoint(directory, center_crop=center_crop, libero=libero)
    if len(preprocessor.mean) != len(config.towers) or preprocessor.size != config.towers[0].image_size:
        raise ValueError(
            f"{directory}: preprocessor_config.json has {len(preprocessor.mean)} towers of {preprocessor.size} pixels, "
            f"config.json {len(config.towers)} of {config.towers[0].image_size}"
        )
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: torch finds no GPU")
    model = load_model(
        directory,
        DTYPES[dtype],
        where,
        adapter=None if adapter is None else Path(adapter),
        reserve=_activations(config, max_batch, images, DTYPES[dtype]),
        four_bits=dtype == "nf4",
    )
    return Parts(model, prompter, preprocessor, statistics, ActionTokens(config.vocabulary, config.bins))


def _activations(config: ModelConfig, batch: int, images: int, dtype: torch.dtype) -> int:
    """Bytes that a batch needs besides the weights: keys and values, and as much again for one layer's work."""
    llama = {"hidden_size": 4096, "num_hidden_layers": 32, **config.text}
    length = config.patches * images + _PROMPT
    return 2 * batch * length * 2 * llama["hidden_size"] * llama["num_hidden_layers"] * dtype.itemsize
