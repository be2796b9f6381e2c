"""Everything that a policy needs from a checkpoint directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rpd_jax.ipc.cuda import gpu_uuid
from teachers.openvla.server.action_tokens import ActionTokens
from teachers.openvla.server.checkpoint import load_model
from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.files import find_base, statistics_of
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.preprocessing import Preprocessor
from teachers.openvla.server.prompts import Prompter, choose_template
from teachers.openvla.server.statistics import select_statistics

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
    four_bits: bool = False  # the language model's weights
    directories: tuple[Path, ...] = ()  # that it was loaded from
    remarks: tuple[str, ...] = ()  # for the log

    @property
    def gpus(self) -> list[str]:
        """The GPU that the model is on, by `gpu_uuid`; none on a CPU."""
        device = self.model.device
        return [gpu_uuid(device.index or 0)] if device.type == "cuda" else []


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
    statistics: Mapping[str, Any] | None = None,
    fixed_rows: int = 0,
    remedy: str = "lower max_batch, or use dtype='nf4'",
) -> Parts:
    """Reads a checkpoint; what is wrong with its small files is said before the large ones are read.

    Args:
      path: directory in the layout of Hugging Face, or one of an adapter that names the checkpoint it belongs to.
      dtype: "bf16", "f32", or "nf4" (four bits, with bitsandbytes).
      device: as torch names it; None: the GPU if there is one.
      statistics_key: data set whose statistics undo the normalisation; None where there is only one.
      center_crop, libero: see `Preprocessor`.
      template: of the prompts, see `prompts.TEMPLATES`; None: that of the language model which config.json names.
      adapter: a PEFT directory of LoRA matrices to add; if it has statistics, they come before the checkpoint's.
      max_batch: sequences computed at a time, for the estimate of memory.
      images: of one observation, likewise.
      statistics: of one data set, in place of the checkpoint's.
      fixed_rows: of sequences that are decoded in fixed memory (`stepping.rows_reserved`), likewise.
      remedy: what the error says where a GPU has too little memory.
    Raises:
      ValueError: something is missing, unknown, or does not fit.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown: choose from {sorted(DTYPES)}")
    if max_batch < 1:
        raise ValueError(f"max_batch={max_batch}: need at least 1")
    directory, adapter = find_base(Path(path), None if adapter is None else Path(adapter))
    config = ModelConfig.from_dict(read_json(directory / "config.json"))
    if statistics is None:
        statistics = select_statistics(*statistics_of(directory, adapter, config), statistics_key)
    template, remark = choose_template(template, config.language_model)
    prompter = Prompter(directory, template)
    preprocessor = Preprocessor.from_checkpoint(directory, center_crop=center_crop, libero=libero)
    if len(preprocessor.mean) != len(config.towers) or preprocessor.size != config.towers[0].image_size:
        raise ValueError(
            f"{directory}: preprocessor_config.json has {len(preprocessor.mean)} towers of {preprocessor.size} pixels, "
            f"config.json {len(config.towers)} of {config.towers[0].image_size}"
        )
    where = find_device(device)
    model = load_model(
        directory,
        DTYPES[dtype],
        where,
        adapter=adapter,
        reserve=_activations(config, max_batch, fixed_rows, images, DTYPES[dtype]),
        four_bits=dtype == "nf4",
        remedy=remedy,
    )
    tokens = ActionTokens(config.vocabulary, config.bins)
    directories = (directory,) if adapter is None else (directory, adapter)
    four_bits = dtype == "nf4"
    return Parts(model, prompter, preprocessor, dict(statistics), tokens, four_bits, directories, (remark,))


def find_device(name: str | None) -> torch.device:
    """The device, made torch's current one if it is a GPU: graphs and other libraries' arrays are of that one.

    Raises ValueError if there is no such device.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"device={name!r} is unknown: need a name of torch's, such as cpu or cuda:0") from None
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = device.index or 0
    if number >= count:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        limited = "" if seen is None else f" (CUDA_VISIBLE_DEVICES={seen!r})"
        raise ValueError(f"device={name!r}: torch finds {count or 'no'} GPU{'s' if count > 1 else ''}{limited}")
    device = torch.device("cuda", number)
    torch.cuda.set_device(device)
    return device


def _activations(config: ModelConfig, batch: int, fixed_rows: int, images: int, dtype: torch.dtype) -> int:
    """Bytes that a batch needs besides the weights: keys and values, as much again for one layer's work, and what is
    kept of `fixed_rows` sequences."""
    llama = {"hidden_size": 4096, "num_hidden_layers": 32, **config.text}
    length = config.patches * images + _PROMPT
    rows = 2 * batch + fixed_rows
    return rows * length * 2 * llama["hidden_size"] * llama["num_hidden_layers"] * dtype.itemsize
