"""OpenVLA-OFT: chunks, heads, inputs that do not fit, and the parts that golden data do not reach."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from teachers.openvla.server.oft.policy import OFTPolicy

TWO = ("rgb", "rgb_wrist")


def load(golden: Path, heads: str | Path = "oft", **settings: object) -> OFTPolicy:
    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.openvla.server.oft.settings import OFTSettings

    tiny = golden / "tiny"
    options = {"dtype": "f32", "device": "cpu", "statistics_key": "bridge_orig"}
    return OFTPolicy.load(tiny / "checkpoint", OFTSettings(**settings), heads=tiny / heads, **options)


@pytest.fixture(scope="module")
def tokens_policy(golden: Path) -> OFTPolicy:
    return load(golden)


def test_samples_follow_the_exact_moments(tokens_policy: OFTPolicy, frames: np.ndarray) -> None:
    labels = tokens_policy.label(frames[:2, None], "push", samples=4000, seed=1, temperature=1.6)
    assert labels["action"].shape == (2, 8, 7) and labels["samples"].shape == (2, 4000, 8, 7)
    np.testing.assert_array_equal(labels["action"], labels["samples"][:, 0])
    # The mean of 4000 draws is within five standard errors in all of 112 entries but once in 15,000 times.
    error = np.abs(labels["samples"].mean(1) - labels["mean"]) / (labels["std"] / math.sqrt(4000))
    assert error.max() < 5
    np.testing.assert_allclose(labels["samples"].std(1), labels["std"], rtol=0.15, atol=1e-3)
    flat = (labels["action_logits"] / 1.6).astype(np.float64)
    p = np.exp(flat) / np.exp(flat).sum(-1, keepdims=True)
    chosen = np.take_along_axis(p[:, None], (labels["tokens"] - 31744)[..., None], -1)[..., 0]
    np.testing.assert_allclose(labels["logprob"], np.log(chosen), atol=1e-4)


def test_the_same_request_has_the_same_answer(golden: Path, frames: np.ndarray) -> None:
    policy = load(golden, "oft/diffusion", head="diffusion", diffusion_steps=5)
    one, other = (policy.label(frames[:2, None], "push", seed=4)["action"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert (policy.label(frames[:2, None], "push", seed=5)["action"] != one).any()


def test_every_input_counts(golden: Path, frames: np.ndarray) -> None:
    policy = load(golden, head="l1", images=TWO, proprio=("8",))
    both, state = np.stack([frames[:1], frames[1:2]], 1), np.full((1, 8), 0.1)
    action = policy.label(both, "push", state)["action"]
    assert np.abs(policy.label(both[:, ::-1].copy(), "push", state)["action"] - action).max() > 1e-3
    assert np.abs(policy.label(both, "push", state + 0.1)["action"] - action).max() > 1e-3
    assert np.abs(policy.label(both, "pull", state)["action"] - action).max() > 1e-3


def test_three_images_and_fewer_bins(golden: Path, frames: np.ndarray) -> None:
    """Cameras may differ in size; they are given one by one or as one array."""
    policy = load(golden, images=("rgb", "rgb_left_wrist", "rgb_right_wrist"), bins=128)
    cameras = [frames[:2], frames[2:4], frames[4:6]]
    answer = policy.label(cameras, "push")
    np.testing.assert_array_equal(policy.label(np.stack(cameras, 1), "push")["tokens"], answer["tokens"])
    assert answer["action_logits"].shape == (2, 56, 128) and (answer["tokens"] >= 32000 - 128).all()
    other = policy.label([frames[:2], frames[2:4], frames[4:6, :100, :100]], "push")
    assert np.abs(other["action_logits"] - answer["action_logits"]).max() > 1e-3


def test_film_takes_the_instruction_to_the_images(golden: Path, frames: np.ndarray) -> None:
    from teachers.openvla.server.oft.policy import Request

    policy = load(golden, "oft/film", film=True)
    ids = [policy.parts.prompter(each) for each in ("push", "pull")]
    contexts = [policy._context(Request(frames[:1, None], [each], None)) for each in ids]
    assert float((contexts[0] - contexts[1]).abs().max()) > 1e-3


def test_requests_that_do_not_fit_the_training(golden: Path, tokens_policy: OFTPolicy, frames: np.ndarray) -> None:
    state = np.zeros((2, 8))
    two = np.repeat(frames[:2, None], 2, axis=1)
    with pytest.raises(
        ValueError, match=r"need \[B, 1, H, W, 3\], or 1 of \[B, H, W, 3\]: the checkpoint was trained with images=rgb"
    ):
        tokens_policy.label(two, "push")
    with pytest.raises(ValueError, match="proprio is given: proprio_dim=None"):
        tokens_policy.label(frames[:2, None], "push", state)
    policy = load(golden, head="l1", images=TWO, proprio=("8",))
    with pytest.raises(ValueError, match="proprio is missing: proprio_dim=8"):
        policy.label(two, "push")
    with pytest.raises(ValueError, match=r"proprio is \(2, 7\), need \(2, 8\)"):
        policy.label(two, "push", state[:, :7])
    with pytest.raises(ValueError, match="the l1 head has no tokens"):
        policy.label(two, "push", state, samples=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action_dim": 6}, "action_dim=6: the statistics have 7 action dimensions"),
        ({"proprio": ("7",)}, "fc1.weight .64, 8. instead of .64, 7."),
        ({"head": "diffusion"}, "superfluous: model.layer_norm1.weight"),
        ({"head": "l1", "film": True}, "need one vision_backbone--<step>_checkpoint.pt, there is none"),
        ({"head": "l1", "action_dim": 5}, "instead of .320,."),
        ({"head": "l2"}, "head='l2' is unknown"),
        ({"chunk": 0}, "chunk=0"),
        ({"diffusion_steps": 51}, "diffusion_steps=51"),
    ],
)
def test_settings_that_do_not_fit_the_files(golden: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(golden, **settings)


def test_two_heads_in_one_directory_are_refused(golden: Path, tmp_path: Path) -> None:
    from teachers.openvla.server.oft.heads import find_file

    for step in ("1000", "latest"):
        shutil.copy(
            golden / "tiny/oft/action_head--1000_checkpoint.pt", tmp_path / f"action_head--{step}_checkpoint.pt"
        )
    with pytest.raises(ValueError, match=r"there is action_head--1000_checkpoint\.pt, action_head--latest"):
        find_file(tmp_path, "action_head")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    import torch

    from teachers.openvla.server.oft.heads import read_tensors

    path = tmp_path / "action_head--1_checkpoint.pt"
    torch.save({"weight": Path("anything")}, path)
    with pytest.raises(ValueError, match="no file of tensors"):
        read_tensors(path)


def wrap(tensors: dict[str, Tensor], name: str, rank: int) -> dict[str, Tensor]:
    """As PEFT saves a linear layer that it has wrapped, with the weight that merging gives back."""
    import torch

    draw = torch.Generator().manual_seed(0)
    stem = name.removesuffix(".weight")
    out, before = tensors[name].shape
    a, b = torch.randn(rank, before, generator=draw), torch.randn(out, rank, generator=draw)
    added = min(rank, 16) / rank * b @ a
    done = {key: value for key, value in tensors.items() if not key.startswith(f"{stem}.")}
    done[f"{stem}.base_layer.weight"] = tensors[name].float() - added
    done[f"{stem}.base_layer.bias"] = tensors[f"{stem}.bias"]
    return done | {f"{stem}.lora_A.default.weight": a, f"{stem}.lora_B.default.weight": b}


def test_a_vision_backbone_saved_with_lora(golden: Path, tmp_path: Path, frames: np.ndarray) -> None:
    import torch

    source = golden / "tiny/oft/film/vision_backbone--1000_checkpoint.pt"
    tensors = torch.load(source, weights_only=True)
    name = "vision_backbone.fused_featurizer.blocks.1.block.mlp.fc1.weight"
    for rank in (32, 4):
        wrapped = wrap(tensors, name, rank)
        torch.save({f"module.{key}": value for key, value in wrapped.items()}, tmp_path / source.name)
        want, got = (
            load(golden, heads, film=True).label(frames[:2, None], "push")["action_logits"]
            for heads in ("oft/film", tmp_path)
        )
        np.testing.assert_allclose(got, want, atol=1e-4)
    del wrapped[f"{name.removesuffix('.weight')}.lora_B.default.weight"]
    torch.save(wrapped, tmp_path / source.name)
    with pytest.raises(ValueError, match="lacks lora_A or lora_B"):
        load(golden, tmp_path, film=True)


def test_the_schedule_by_hand() -> None:
    from teachers.openvla.server.oft.diffusion import cumulative_alphas, timestep_embedding, timesteps

    alphas = cumulative_alphas()
    # The product of the ratios telescopes: cos^2((t + 0.008) / 1.008 pi / 2) / cos^2(0.008 / 1.008 pi / 2).
    at_half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert float(alphas[24]) == pytest.approx(at_half, rel=1e-12)
    assert float(alphas[49] / alphas[48]) == pytest.approx(1 - 0.999, rel=1e-9)  # the last one is capped
    assert timesteps(10) == [45, 40, 35, 30, 25, 20, 15, 10, 5, 0]
    assert timesteps(3) == [32, 16, 0] and timesteps(50)[:2] == [49, 48]
    embedding = timestep_embedding(3, 4)  # frequencies 1 and 1e-4
    np.testing.assert_allclose(embedding, np.r_[np.sin([3, 3e-4]), np.cos([3, 3e-4])], atol=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_denoising_finds_a_single_point(steps: int) -> None:
    """If all data are one point c, the noise in x is (x - sqrt(alpha) c) / sqrt(1 - alpha), and DDIM ends at c."""
    import torch

    from teachers.openvla.server.oft.diffusion import cumulative_alphas, denoise

    point = torch.tensor([[[0.3, -0.9], [1.0, 0.0]]])
    alphas = cumulative_alphas().tolist()

    def predict(x: Tensor, t: int) -> Tensor:
        return (x - math.sqrt(alphas[t]) * point) / math.sqrt(1 - alphas[t])

    path = list(denoise(predict, torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(0)), steps))
    assert len(path) == steps
    torch.testing.assert_close(path[-1], point, atol=1e-5, rtol=0)


def test_clean_actions_are_clipped_on_the_way() -> None:
    import torch

    from teachers.openvla.server.oft.diffusion import denoise

    *_, last = denoise(lambda x, t: torch.zeros_like(x), torch.full((1, 1, 1), 5.0), 4)
    assert last.item() == 1.0


def test_a_projector_of_the_state_inside_the_checkpoint(golden: Path, tmp_path: Path, frames: np.ndarray) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from teachers.openvla.server.oft.policy import OFTPolicy
    from teachers.openvla.server.oft.settings import OFTSettings
    from teachers.openvla.server.policy import OpenVLAPolicy

    tiny, place = golden / "tiny", tmp_path / "checkpoint"
    shutil.copytree(tiny / "checkpoint", place)
    apart = torch.load(tiny / "oft" / "proprio_projector--1000_checkpoint.pt", weights_only=True)
    path = place / "model-00001-of-00003.safetensors"
    inside = {f"proprio_projector.{name.removeprefix('module.')}": value for name, value in apart.items()}
    save_file(load_file(path) | inside, path)
    options = {"dtype": "f32", "device": "cpu", "statistics_key": "bridge_orig"}
    state = np.full((1, 8), 0.1)
    got, want = (
        OFTPolicy.load(directory, OFTSettings(proprio=("8",)), heads=tiny / "oft", **options).label(
            frames[:1, None], "push", state
        )["action_logits"]
        for directory in (place, tiny / "checkpoint")
    )
    np.testing.assert_array_equal(got, want)
    with pytest.raises(ValueError, match="proprio_dim=7: the checkpoint's proprio_projector takes 8 numbers"):
        OFTPolicy.load(place, OFTSettings(proprio=("7",)), **options)
    with pytest.raises(ValueError, match=r"it is OpenVLA-OFT's.*--oft="):
        OpenVLAPolicy.load(place, **options)
