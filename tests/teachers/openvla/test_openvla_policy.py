"""The interface of the OpenVLA teacher: batches, samples, scores, and requests that make no sense."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from teachers.openvla.server.policy import OpenVLAPolicy

INSTRUCTIONS = ["pick up the carrot", "move the green cube next to the RED block and then open the drawer", "push"]


def test_choosing_follows_the_distribution() -> None:
    import torch

    from teachers.openvla.server.decoding import choose

    logits = torch.tensor([0.1, 0.0, 0.6, 0.3]).log()
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    chosen = choose(logits[None], uniform[None], 1.0)
    np.testing.assert_array_equal(torch.bincount(chosen[0], minlength=4), [100, 0, 600, 300])
    assert choose(logits[None], None, 1.0).item() == 2
    squared = choose(2 * logits[None], uniform[None], 2.0)
    assert torch.equal(squared, chosen)
    ends = choose(logits[None], torch.tensor([[0.0, 1 - 1e-16]], dtype=torch.float64), 1.0)
    np.testing.assert_array_equal(ends, [[0, 3]])


def test_samples_do_not_depend_on_the_batch(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    """Prompts of three lengths in one batch, and each prompt alone with the same random numbers."""
    import torch

    from teachers.openvla.server.batching import uniform_numbers
    from teachers.openvla.server.decoding import decode

    ids = [policy.parts.prompter(each) for each in INSTRUCTIONS]
    assert len({len(each) for each in ids}) == 3
    uniform = uniform_numbers((3, 4, 7), seed=3)
    with torch.inference_mode():
        images = policy._images(frames[:3])
        together = decode(policy.parts.model, images, ids, policy.parts.tokens, 7, uniform=uniform)
        for row in range(3):
            one = slice(row, row + 1)
            alone = decode(policy.parts.model, images[one], ids[one], policy.parts.tokens, 7, uniform=uniform[one])
            assert torch.equal(alone.tokens, together.tokens[one])
            torch.testing.assert_close(alone.action_logits, together.action_logits[one], atol=1e-4, rtol=0)


def test_the_same_request_has_the_same_answer(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    one, other = (policy.label(frames[:3], INSTRUCTIONS, samples=2, seed=5) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert (policy.label(frames[:3], INSTRUCTIONS, samples=2, seed=6)["tokens"] != one["tokens"]).any()
    split = OpenVLAPolicy(policy.parts, max_batch=2).label(frames[:3], INSTRUCTIONS, samples=2, seed=5)
    np.testing.assert_array_equal(split["tokens"], one["tokens"])
    np.testing.assert_allclose(split["action"], one["action"], atol=1e-5)


def test_answers_fit_their_scores(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    """Moments and log-probabilities of drawn tokens, again from the logits of the one-pass scores."""
    temperature = 1.3
    labels = policy.label(frames[:3], INSTRUCTIONS, samples=3, seed=1, temperature=temperature)
    values = policy.parts.tokens.column_values
    means, variances = [], []
    for sample in range(3):
        tokens = labels["tokens"][:, sample]
        scores = policy.score(frames[:3], INSTRUCTIONS, tokens)
        logits = scores["action_logits"].astype(np.float64) / temperature
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        chosen = np.take_along_axis(p, (tokens - 31744)[..., None], -1)[..., 0]
        np.testing.assert_allclose(labels["logprob"][:, sample], np.log(chosen).sum(-1), atol=1e-3)
        means.append(p @ values)
        variances.append(p @ values**2 - means[-1] ** 2)
        assert (scores["logsumexp"] > np.log(np.exp(scores["action_logits"]).sum(-1))).all()
    mean, variance = np.mean(means, 0), np.mean(variances, 0) + np.var(means, 0)
    np.testing.assert_allclose(labels["action"], policy.bounds.unnormalize(mean), atol=1e-4)
    np.testing.assert_allclose(labels["std"], np.sqrt(variance) * policy.bounds.half_width, atol=1e-4)
    assert labels["action"].dtype == labels["std"].dtype == np.float32


def test_one_sample_is_its_tokens(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    for temperature in (None, 2.0):
        labels = policy.label(frames[:2], "push", seed=2, temperature=temperature)
        assert labels["tokens"].shape == (2, 1, 7)
        decoded = policy.parts.tokens.decode(labels["tokens"][:, 0])
        np.testing.assert_allclose(labels["action"], policy.bounds.unnormalize(decoded), atol=1e-6)


def test_bf16_is_near_f32(policy: OpenVLAPolicy, checkpoint: Path, frames: np.ndarray) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    half = OpenVLAPolicy.load(
        checkpoint, dtype="bf16", device="cpu", statistics_key="bridge_orig", allow_non_action=True
    )
    tokens = policy.label(frames, "push")["tokens"][:, 0]
    f32, bf16 = (each.score(frames, "push", tokens)["action_logits"] for each in (policy, half))
    assert 0 < np.abs(bf16 - f32).max() < 0.5  # of logits around 15; the official model in bf16 is 0.24 off


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples=0: need at least 1"),
        ({"temperature": 0.0}, r"temperature=0\.0: need more than 0"),
        ({"instruction": ["push"]}, "1 instructions for 2 frames"),
        ({"instruction": ""}, "the instruction is empty"),
        ({"frames": np.zeros((2, 8, 8, 3))}, r"need uint8 \[B, H, W, 3\]"),
        ({"frames": np.zeros((0, 8, 8, 3), np.uint8)}, "there are none"),
    ],
)
def test_bad_requests(policy: OpenVLAPolicy, frames: np.ndarray, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy.label(**{"frames": frames[:2], "instruction": "push", **arguments})


def test_only_action_tokens_are_scored(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    tokens = np.full((2, 7), 31872)
    tokens[1, 4] = 2
    with pytest.raises(ValueError, match=r"1 of 14 tokens are no action tokens, the first is 2 at \[1, 4\]"):
        policy.score(frames[:2], "push", tokens)
    with pytest.raises(ValueError, match=r"tokens are int64 \(2, 6\), need integers \(2, 7\)"):
        policy.score(frames[:2], "push", tokens[:, :6])


def test_settings_that_make_no_sense(checkpoint: Path) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    for options, message in (
        ({}, r"statistics_key is missing: name the data set, one of \['bridge_orig', 'tiny_maniskill'\]"),
        ({"statistics_key": "bridge"}, "did you mean 'bridge_orig'"),
        ({"dtype": "fp8"}, "dtype='fp8' is unknown"),
        ({"max_batch": 0}, "max_batch=0"),
    ):
        with pytest.raises(ValueError, match=message):
            OpenVLAPolicy.load(checkpoint, **{"device": "cpu", **options})


def edited(checkpoint: Path, place: Path, name: str, factor: float, rows: slice) -> Path:
    """A copy of the checkpoint in which some rows of one tensor are multiplied."""
    import json

    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, place)
    path = place / json.loads((place / "model.safetensors.index.json").read_text())["weight_map"][name]
    tensors = load_file(path)
    tensors[name][rows] *= factor
    save_file(tensors, path)
    return place


def test_a_model_that_ignores_the_image_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    blind = edited(checkpoint, tmp_path / "blind", "projector.fc3.weight", 0.0, slice(None))
    with pytest.raises(ValueError, match="self-test: two images change the logits by 0 of a spread"):
        OpenVLAPolicy.load(blind, dtype="f32", device="cpu", statistics_key="bridge_orig")


def test_a_model_that_does_not_answer_with_actions_is_refused(
    checkpoint: Path, tmp_path: Path, frames: np.ndarray
) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    options = {"dtype": "f32", "device": "cpu", "statistics_key": "bridge_orig"}
    faint = edited(checkpoint, tmp_path / "faint", "language_model.lm_head.weight", 0.01, slice(31744, 32000))
    with pytest.raises(ValueError, match=r"does not answer with actions: .* of 7 tokens are no action tokens"):
        OpenVLAPolicy.load(faint, **options).label(frames[:1], "push")
    labels = OpenVLAPolicy.load(faint, **options, allow_non_action=True).label(frames[:1], "push")
    assert (labels["tokens"] >= 31744).all() and (labels["tokens"] < 32000).all()


def test_transformers_warns_of_nothing(policy: OpenVLAPolicy, frames: np.ndarray) -> None:
    """Names that a later version drops, first of all."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.label(frames[:2], ["go", "lift the peg"])
