"""What fine-tuning the tiny OpenVLA teaches, and what the adapter left behind gives to whoever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from recorded import INSTRUCTIONS, recorded, run, settings

from teachers.openvla.finetune.settings import AugmentSettings, DataSettings, LoraSettings, OptimizerSettings

pytest.importorskip("peft", reason="fine-tuning needs peft: pip install -r teachers/openvla/requirements.txt")

if TYPE_CHECKING:
    from teachers.openvla.finetune.train import Result


@pytest.fixture(scope="module")
def memorised(checkpoint: Path, tmp_path_factory) -> Result:
    """Four samples, learnt by heart."""
    made = settings(
        steps=30,
        log_every=1,
        validate_every=0,
        lora=LoraSettings(rank=8),
        optimizer=OptimizerSettings(learning_rate=5e-3),
        data=DataSettings(batch_size=4, validation_share=0.0, name="mine"),
        augment=AugmentSettings(enabled=False),
    )
    two = [[recorded(0, 2), recorded(1, 2)]]
    return run(checkpoint, tmp_path_factory.mktemp("runs") / "memorised", made, two)


def test_samples_are_learnt_by_heart(memorised: Result) -> None:
    """All tokens but the end of the answer, to which the random model's output matrix gives next to no weight."""
    first, *_, last = memorised.history
    assert first["train/loss"] > 5 and last["train/loss"] < 2
    assert first["train/action_accuracy"] < 0.1 and last["train/action_accuracy"] == 1
    assert first["train/action_l1"] > 0.3 and last["train/action_l1"] == 0


def test_the_adapter_gives_what_the_trained_model_gives(memorised: Result, checkpoint: Path) -> None:
    """Merged into the weights, from its directory alone; and the actions are those that were shown."""
    from teachers.openvla.server.policy import OpenVLAPolicy

    episodes = [recorded(0, 2), recorded(1, 2)]
    frames = np.concatenate([each.observation["rgb"][:-1] for each in episodes])
    words = [each.instruction for each in episodes for _ in range(2)]
    trained = OpenVLAPolicy(memorised.parts)
    expected = trained.label(frames, words)
    options = {"dtype": "f32", "device": "cpu"}
    named = {"adapter": memorised.directory, "statistics_key": "mine"}
    for policy in (
        OpenVLAPolicy.load(memorised.directory, **options),
        OpenVLAPolicy.load(checkpoint, **options, **named),
    ):
        found = policy.label(frames, words)
        np.testing.assert_array_equal(found["tokens"], expected["tokens"])
        np.testing.assert_allclose(found["action"], expected["action"], atol=1e-6)
        np.testing.assert_allclose(found["std"], expected["std"], atol=1e-3)
        scores = [each.score(frames, words, expected["tokens"][:, 0])["action_logits"] for each in (policy, trained)]
        np.testing.assert_allclose(*scores, atol=2e-3)
    action = np.concatenate([each.action for each in episodes])
    bounds = trained.bounds
    shown = np.where(bounds.mask, np.clip(action, bounds.low, bounds.high), action)
    assert (np.abs(found["action"] - shown) <= bounds.half_width / 255 + 1e-5).all()
    untrained = OpenVLAPolicy.load(checkpoint, **options, statistics_key="bridge_orig").label(frames, words)
    assert (untrained["tokens"] != expected["tokens"]).mean() > 0.5


def test_peft_reads_the_files(memorised: Result, checkpoint: Path, frames: np.ndarray) -> None:
    """A model to which PEFT adds what the files say gives the same numbers, bit by bit."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    from teachers.openvla.server.loading import load_parts
    from teachers.openvla.server.policy import OpenVLAPolicy

    parts = load_parts(checkpoint, dtype="f32", device="cpu", statistics=memorised.parts.statistics)
    config = LoraConfig.from_pretrained(str(memorised.directory))
    assert config.base_model_name_or_path == str(checkpoint.resolve()) and (config.r, config.lora_alpha) == (8, 8)
    inject_adapter_in_model(config, parts.model)
    loaded = set_peft_model_state_dict(parts.model, load_file(memorised.directory / "adapter_model.safetensors"))
    assert not loaded.unexpected_keys and not [name for name in loaded.missing_keys if "lora_" in name]
    one, other = (OpenVLAPolicy(each) for each in (parts, memorised.parts))
    tokens = one.label(frames[:2], INSTRUCTIONS)["tokens"][:, 0]
    scores = [torch.from_numpy(each.score(frames[:2], INSTRUCTIONS, tokens)["action_logits"]) for each in (one, other)]
    assert torch.equal(*scores)


def test_a_whole_checkpoint_with_the_adapter_added(memorised: Result, checkpoint: Path, tmp_path: Path) -> None:
    """Has the tensors that loading checkpoint and adapter makes, and needs neither of them."""
    import torch

    from teachers.openvla.finetune.merge import write_merged
    from teachers.openvla.server.checkpoint import load_model
    from teachers.openvla.server.policy import OpenVLAPolicy

    merged = tmp_path / "merged"
    write_merged(checkpoint, memorised.directory, merged)
    write_merged(checkpoint, memorised.directory, merged)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    assert {path.name for path in checkpoint.iterdir()} <= {path.name for path in merged.iterdir()}
    kind, device = torch.bfloat16, torch.device("cpu")
    one = load_model(merged, kind, device).state_dict()
    other = load_model(checkpoint, kind, device, memorised.directory).state_dict()
    before = load_model(checkpoint, kind, device).state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert sum(not torch.equal(one[name], before[name]) for name in one) == 48
    policy = OpenVLAPolicy.load(merged, dtype="f32", device="cpu")
    assert policy.parts.statistics == memorised.parts.statistics
