"""What the OpenVLA teacher says of a GPU that has too little memory, before it reads anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_memory_is_compared_before_anything_is_read(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from teachers.openvla.server import checkpoint as module
    from teachers.openvla.server import main

    # The real model in bf16: 15.08 GB (see the manifest) less the blocks that are not used, 2 bytes for each of 43 M
    # parameters; in four bits, 6.476e9 of the language model's weights take 0.5625 bytes.
    config = json.loads((checkpoint / "config.json").read_text())
    from parity.openvla import real_config

    from teachers.openvla.server.config import ModelConfig

    real = module.empty_model(ModelConfig.from_dict(real_config(config)))
    assert module.weight_bytes(real, torch.bfloat16, False) == pytest.approx(15.08e9 - 0.086e9, rel=2e-3)
    small = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    difference = module.weight_bytes(real, torch.bfloat16, False) - module.weight_bytes(real, torch.bfloat16, True)
    assert difference == pytest.approx(small * (2 - 0.5625), rel=1e-9)
    with pytest.raises(ValueError, match=r"has 8\.0 GiB free, the model needs 14\.0 GiB with its work: buy another"):
        module.check_memory(14 * 2**30, 8 * 2**30, torch.device("cuda"), "buy another")
    monkeypatch.setattr(module, "free_memory", lambda device: 1000)
    with pytest.raises(ValueError, match=r"cpu has 0\.0 GiB free.*: use a smaller batch"):
        module.load_model(checkpoint, torch.float32, torch.device("cpu"))
    remedies = r"lower teacher\.rows, use teacher\.dtype=nf4 .* set XLA_PYTHON_CLIENT_MEM_FRACTION"
    flags = [f"--checkpoint={checkpoint}", "--contract=maniskill", "--dtype=f32", "--device=cpu"]
    with pytest.raises(ValueError, match=remedies):
        main.load(main.parse([*flags, "--statistics-key=bridge_orig"]))


def test_memory_is_reserved_for_what_is_decoded_in_fixed_memory(checkpoint: Path) -> None:
    """Of 7 B: keys and values of a token are 2 x 32 layers x 4096 x 2 bytes = 512 KiB; 256 patches and 40 tokens."""
    import torch
    from parity.openvla import real_config

    from teachers.openvla.server.config import ModelConfig
    from teachers.openvla.server.loading import _activations
    from teachers.openvla.server.stepping import rows_reserved

    config = ModelConfig.from_dict(real_config(json.loads((checkpoint / "config.json").read_text())))
    assert [rows_reserved(batch) for batch in (1, 8, 9, 32, 33)] == [1 + 9, 8 + 9, 32 + 9, 32 + 9, 64 + 9]
    found = [_activations(config, 32, fixed_rows, 1, torch.bfloat16) for fixed_rows in (0, rows_reserved(32))]
    assert found == [rows * 296 * 512 * 1024 for rows in (64, 64 + 41)]
