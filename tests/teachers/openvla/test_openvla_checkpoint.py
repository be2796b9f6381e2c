"""Checkpoints: every tensor is accounted for, and what is wrong is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

LAST = "model-00003-of-00003.safetensors"
NORM = "language_model.model.norm.weight"
QKV = "vision_backbone.featurizer.blocks.0.attn.qkv.weight"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    place = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, place)
    return place


def change(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def load(directory: Path, **options: object) -> dict[str, Tensor]:
    import torch

    from teachers.openvla.server.checkpoint import load_model

    return load_model(directory, torch.float32, torch.device("cpu"), **options).state_dict()


def file_of(directory: Path, name: str) -> Path:
    return directory / json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"][name]


def test_tensors_that_do_not_fit_are_named(copy: Path) -> None:
    import torch

    def rename(tensors: dict[str, Tensor]) -> None:
        tensors["language_model.model.norm.bias"] = tensors.pop(NORM)

    change(file_of(copy, NORM), rename)
    head = "language_model.lm_head.weight"
    change(file_of(copy, head), lambda tensors: tensors.update({head: torch.zeros(4, 64)}))
    with pytest.raises(ValueError) as caught:
        load(copy)
    assert f"1 missing: {NORM}" in str(caught.value)
    assert "1 superfluous: language_model.model.norm.bias" in str(caught.value)
    assert "1 of another shape: language_model.lm_head.weight (4, 64) instead of (32064, 64)" in str(caught.value)


def test_unused_tensors_are_checked_and_recomputed_ones_ignored(copy: Path) -> None:
    import torch

    change(
        copy / LAST, lambda t: t.update({"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    )
    assert load(copy)
    name = "vision_backbone.fused_featurizer.attn_pool.latent"
    change(file_of(copy, name), lambda t: t.update({name: torch.ones(1, 2, 48)}))
    with pytest.raises(ValueError, match=r"attn_pool\.latent \(1, 2, 48\) instead of \(1, 1, 48\)"):
        load(copy)


def test_a_single_file_needs_no_index(copy: Path, checkpoint: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {}
    for path in sorted(copy.glob("*.safetensors")):
        tensors |= load_file(path)
        path.unlink()
    (copy / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match=r"incomplete: it has no model\.safetensors$"):
        load(copy)
    save_file(tensors, copy / "model.safetensors")
    one, three = load(copy), load(checkpoint)
    assert one.keys() == three.keys() and all(torch.equal(one[name], three[name]) for name in one)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e39])
def test_weights_that_are_no_numbers_are_named(copy: Path, value: float) -> None:
    import torch

    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[NORM] = tensors[NORM].double()
        tensors[NORM][3] = value  # 1e39 is too large for what it is read as

    path = file_of(copy, NORM)
    change(path, spoil)
    with pytest.raises(ValueError, match=f"{path.name}: {NORM} holds NaN or infinite numbers"):
        load(copy)
    change(path, lambda tensors: tensors.update({NORM: torch.ones(64)}))
    assert load(copy)


@pytest.mark.parametrize("kind", ["pt", "lora"])
def test_so_are_those_of_heads_and_adapters(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import save_file

    from teachers.openvla.server.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter
    from teachers.openvla.server.oft.heads import read_tensors

    tensors = {"base_model.model.x.lora_A.weight": torch.full((2, 2), torch.nan)}
    (tmp_path / ADAPTER_CONFIG).write_text('{"r": 2, "lora_alpha": 2}')
    save_file(tensors, tmp_path / ADAPTER_WEIGHTS)
    torch.save(tensors, tmp_path / "head.pt")
    with pytest.raises(ValueError, match=r"(head.pt|safetensors): .*x\.lora_A\.weight holds NaN"):
        read_tensors(tmp_path / "head.pt") if kind == "pt" else Adapter.read(tmp_path, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"mine": {"action": {"q01": [0, NaN], "q99": [1, 1]}}}', "json: mine/action/q01 holds NaN or infinite"),
        ('{"mine": {"action": {"q01": [0, 1], "q99": [1, 1e999]}}}', "json: mine/action/q99 holds NaN or infinite"),
        ('{"mine": 3}', "json holds no statistics"),
        ("[1]", "json holds a list"),
        ('{"mine": {"action": {"q01": ["x"]}}}', "json holds no statistics"),
    ],
)
def test_statistics_that_are_no_numbers_are_named(tmp_path: Path, content: str, message: str) -> None:
    from teachers.openvla.server.statistics import Bounds, read_statistics

    (tmp_path / "dataset_statistics.json").write_text(content)
    with pytest.raises(ValueError, match=f"dataset_statistics.{message}"):
        read_statistics(tmp_path, {})
    with pytest.raises(ValueError, match="the statistics' q99 holds NaN"):
        Bounds.of({"q01": [0.0], "q99": [float("nan")]})


def test_incomplete_directories(copy: Path) -> None:
    path = copy / LAST
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{LAST}: damaged or incomplete"):
        load(copy)
    path.unlink()
    with pytest.raises(ValueError, match=f"incomplete: it has no {LAST}"):
        load(copy)
    index = copy / "model.safetensors.index.json"
    for text in (
        "",
        "[",
        "[" * 100_000,
        "[]",
        "{}",
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../b.safetensors"}}',
    ):
        index.write_text(text)
        with pytest.raises(ValueError, match=r"index\.json"):
            load(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"is no checkpoint: it has no config\.json"):
        load(copy)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"model_type": "llava"}, "model_type='llava', need 'openvla'"),
        ({"timm_model_ids": ["resnet50", "vit_so400m_patch14_siglip_224"]}, "'resnet50', which is not supported"),
        ({"use_fused_vision_backbone": False}, "does not fit use_fused_vision_backbone=False"),
        ({"text_config": {"model_type": "mistral", "vocab_size": 32064}}, "need 'llama'"),
    ],
)
def test_other_models_are_refused(checkpoint: Path, edit: dict, message: str) -> None:
    from teachers.openvla.server.config import ModelConfig

    config = json.loads((checkpoint / "config.json").read_text())
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict({**config, **edit})


def test_the_models_gpu_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from teachers.openvla.server.loading import find_device

    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [str(find_device(name)) for name in (None, "cuda", "cuda:1", "cpu")] == ["cuda:0", "cuda:0", "cuda:1", "cpu"]
    assert [str(device) for device in chosen] == ["cuda:0", "cuda:0", "cuda:1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    with pytest.raises(ValueError, match=r"device='cuda:2': torch finds 2 GPUs \(CUDA_VISIBLE_DEVICES='5,6'\)"):
        find_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match=r"device='cuda': torch finds no GPU \(CUDA_VISIBLE_DEVICES=''\)"):
        find_device("cuda")
    assert str(find_device(None)) == "cpu"
    with pytest.raises(ValueError, match="device='gpu' is unknown"):
        find_device("gpu")


def write_adapter(directory: Path, tensors: dict[str, Tensor], **settings: object) -> Path:
    from safetensors.torch import save_file

    directory.mkdir(exist_ok=True)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "bias": "none", **settings}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {f"base_model.model.{name}": value for name, value in tensors.items()}, directory / "adapter_model.safetensors"
    )
    return directory


def pair(name: str, shape: tuple[int, int]) -> dict[str, Tensor]:
    import torch

    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, shape[1], generator=draw), torch.randn(shape[0], 2, generator=draw)
    stem = name.removesuffix(".weight")
    return {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}


def test_lora_is_added_to_its_weight_only(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    unused = "vision_backbone.featurizer.blocks.3.attn.qkv.weight"
    tensors = pair(QKV, (96, 32)) | pair(unused, (96, 32))
    adapter = write_adapter(tmp_path / "adapter", tensors)
    before, after = load(checkpoint), load(checkpoint, adapter=adapter)
    assert [name for name in before if not torch.equal(before[name], after[name])] == [QKV]
    a, b = (tensors[f"{QKV.removesuffix('.weight')}.lora_{side}.weight"] for side in "AB")
    torch.testing.assert_close(after[QKV], before[QKV] + 1.5 * b @ a)
    scaled = load(checkpoint, adapter=write_adapter(tmp_path / "adapter", tensors, use_rslora=True))
    torch.testing.assert_close(scaled[QKV], before[QKV] + 3 / 2**0.5 * b @ a)


def test_adapters_that_do_not_fit(checkpoint: Path, tmp_path: Path) -> None:
    place = tmp_path / "adapter"
    good = pair(QKV, (96, 32))
    for tensors, settings, message in (
        (good, {"use_dora": True}, "only plain LoRA is supported"),
        (pair(QKV, (96, 30)), {}, r"is \(96, 32\), its matrices make \(96, 30\)"),
        (pair("language_model.model.layers.7.mlp.up_proj.weight", (160, 64)), {}, "the network has no language_model"),
        (dict(list(good.items())[:1]), {}, "lacks lora_A.weight or lora_B.weight"),
        (
            good | {"lm_head.weight": next(iter(good.values())).clone()},
            {},
            r"\['lm_head.weight'\] are no LoRA matrices",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            load(checkpoint, adapter=write_adapter(place, tensors, **settings))


def test_four_bits_need_their_package(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from teachers.openvla.server.policy import OpenVLAPolicy

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match="needs bitsandbytes: pip install"):
        OpenVLAPolicy.load(checkpoint, dtype="nf4", device="cpu", statistics_key="bridge_orig")


def test_four_bits_are_near() -> None:
    pytest.importorskip("bitsandbytes")
    import torch
    from torch import nn

    from teachers.openvla.server.quantize import quantize

    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Linear(256, 128, bias=False)]).to(torch.bfloat16).requires_grad_(False)
    x = torch.randn(5, 256, dtype=torch.bfloat16)
    want = layers[0](x).float()
    quantize(layers, torch.device("cpu"))
    assert layers[0].weight.dtype == torch.uint8
    assert 0.02 < float((layers[0](x).float() - want).norm() / want.norm()) < 0.15  # NF4: 9 % for normal weights


def test_shapes_of_the_real_model(checkpoint: Path) -> None:
    """Nothing is computed: tensors have shapes only."""
    import torch
    from parity.openvla import real_config

    from teachers.openvla.server.action_tokens import ActionTokens
    from teachers.openvla.server.checkpoint import empty_model
    from teachers.openvla.server.config import ModelConfig
    from teachers.openvla.server.decoding import decode

    model = empty_model(ModelConfig.from_dict(real_config(json.loads((checkpoint / "config.json").read_text()))))
    ids = [tuple(range(1, 31))] * 2
    with torch.device("meta"), torch.inference_mode():
        images = model.embed_images(torch.empty(2, 1, 6, 224, 224))
        assert images.shape == (2, 256, 4096)
        assert model.sequences(images, ids)[0].shape == (286, 4096)
        decoded = decode(model, images, ids, ActionTokens(), 7, uniform=torch.empty(2, 3, 7))
    assert decoded.tokens.shape == (2, 3, 7) and decoded.action_logits.shape == (2, 3, 7, 256)


def test_a_single_tower_has_a_smaller_projector(checkpoint: Path) -> None:
    from parity.openvla import real_config

    from teachers.openvla.server.checkpoint import empty_model, expected_shapes
    from teachers.openvla.server.config import ModelConfig

    config = real_config(json.loads((checkpoint / "config.json").read_text()))
    names = {"timm_model_ids": ["vit_so400m_patch14_siglip_224"], "use_fused_vision_backbone": False}
    shapes = expected_shapes(empty_model(ModelConfig.from_dict({**config, **names, "image_sizes": [224]})))
    assert {name: shape for name, shape in shapes.items() if "projector" in name} == {
        "projector.fc1.weight": (4096, 1152),
        "projector.fc1.bias": (4096,),
        "projector.fc2.weight": (4096, 4096),
        "projector.fc2.bias": (4096,),
    }
    assert not any("fused_featurizer" in name for name in shapes)
