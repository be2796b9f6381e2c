"""Images per second of OpenVLA with random weights: decoding action tokens, and scoring given ones.

    python -m benchmarks.openvla            # a GPU: the 7 B model in bfloat16; a CPU: a tiny one in float32
    python -m benchmarks.openvla --size=tiny

`images_per_s_B`: seven tokens decoded for B images at once, prompt of 24 tokens, without preprocessing.
`ratio_batchB`: over one image at a time through the same code. `ratio_scoring_B`: scoring seven given tokens in one
pass over decoding them. `ratio_fixed_B`: decoding in fixed memory, on a GPU as CUDA graphs (`graphs` is 1 if that
worked), over decoding with keys and values that grow; a GPU does the former by default, a CPU the latter.
Aims on an H200: 60 images/s, `ratio_batch32` >= 5, `ratio_scoring_32` >= 1.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks import common
from teachers.openvla.server.action_tokens import ActionTokens
from teachers.openvla.server.config import ModelConfig
from teachers.openvla.server.decoding import decode, score
from teachers.openvla.server.model import OpenVLA
from teachers.openvla.server.stepping import Fixed, Growing, Stepping

BATCHES = (1, 8, 32, 64)
STEPS, PROMPT = 7, 24
NAMES = ("vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224")
TEXT = {"model_type": "llama", "vocab_size": 32064, "pad_token_id": 32000}
FULL = {"model_type": "openvla", "timm_model_ids": NAMES, "image_sizes": (224, 224), "text_config": TEXT}
TINY = {
    **FULL,
    "image_sizes": (56, 56),
    "timm_model_kwargs": (
        {"embed_dim": 32, "depth": 4, "num_heads": 4},
        {"embed_dim": 48, "depth": 4, "num_heads": 4},
    ),
    "text_config": {
        **TEXT,
        **{"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4},
    },
}
SIZES: dict[str, dict[str, Any]] = {"7b": FULL, "tiny": TINY}


def build(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> OpenVLA:
    """A model of random weights, made where it is to run: no copy of 7 B parameters on the host."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            return OpenVLA(config).eval()
    finally:
        torch.set_default_dtype(before)


def main() -> None:
    parser = common.make_parser("openvla")
    parser.add_argument("--size", choices=sorted(SIZES), default="7b" if torch.cuda.is_available() else "tiny")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config = ModelConfig.from_dict(SIZES[arguments.size])
    torch.manual_seed(0)
    model = build(config, dtype, device)
    tokens = ActionTokens(config.vocabulary, config.bins)
    ids = (1, *range(100, 100 + PROMPT - 1))
    given = torch.full((1, STEPS), tokens.columns.start + 100, device=device)
    repeats = 3 if arguments.quick else 10

    def seconds(batch: int, run: Callable[[torch.Tensor, list[tuple[int, ...]]], object]) -> list[float]:
        size = config.towers[0].image_size
        pixels = torch.randn((batch, 1, 3 * len(config.towers), size, size), device=device)

        def call() -> None:
            with torch.inference_mode():
                run(model.embed_images(pixels), [ids] * batch)
            if device.type == "cuda":
                torch.cuda.synchronize()

        return common.timed(call, repeats)

    fixed, growing = Fixed(graph=device.type == "cuda"), Growing()
    usual, other = (fixed, growing) if device.type == "cuda" else (growing, fixed)

    def decoding_with(stepping: Stepping) -> Callable[[torch.Tensor, list[tuple[int, ...]]], object]:
        return lambda images, ids: decode(model, images, ids, tokens, STEPS, stepping=stepping)

    figures: dict[str, float] = {"parameters": float(sum(x.numel() for x in model.parameters()))}
    decoding = {batch: seconds(batch, decoding_with(usual)) for batch in BATCHES}
    for batch, each in decoding.items():
        figures[f"images_per_s_{batch}"] = batch / common.median(each)
        figures[f"spread_{batch}"] = common.spread(each)
        if batch > 1:
            figures[f"ratio_batch{batch}"] = batch * common.median(decoding[1]) / common.median(each)
    common.save("openvla", figures, arguments.json)  # should the time run out
    for batch in (1, 32):
        ratio = common.median(seconds(batch, decoding_with(other))) / common.median(decoding[batch])
        figures[f"ratio_fixed_{batch}"] = ratio if usual is fixed else 1 / ratio
    for batch in (1, 32, BATCHES[-1]):
        scoring = seconds(batch, lambda images, ids: score(model, images, ids, tokens, given.expand(len(ids), STEPS)))
        figures[f"ratio_scoring_{batch}"] = common.median(decoding[batch]) / common.median(scoring)
    # 1 if every step was replayed as a CUDA graph, 0 on a CPU and where none could be recorded
    figures["graphs"] = float(usual is fixed and fixed.has_graphs)
    common.write("openvla", figures, arguments.json)


if __name__ == "__main__":
    main()
