"""Fine-tuning the tiny OpenVLA: the loss, single steps, whole runs and resumed ones."""

from __future__ import annotations

import functools
import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from recorded import EPISODES, INSTRUCTIONS, recorded, run, settings

from rpd_jax.config.validation import ConfigError
from teachers.finetuning.run import Diverged
from teachers.finetuning.settings import SETTINGS_FILE
from teachers.openvla.finetune.settings import DataSettings, LoraSettings, OptimizerSettings
from teachers.serving import SERVING_FILE, read_serving

pytest.importorskip("peft", reason="fine-tuning needs peft: pip install -r teachers/openvla/requirements.txt")

if TYPE_CHECKING:
    from teachers.openvla.finetune.train import Result, Snapshot
    from teachers.openvla.server.policy import OpenVLAPolicy

OTHER = [recorded(number) for number in range(4, 8)]


class StopAfter:
    """A callback that asks the run to stop, as a person would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, snapshot: Snapshot) -> None:
        if snapshot.step == self.step:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def straight(checkpoint: Path, tmp_path_factory) -> Result:
    return run(checkpoint, tmp_path_factory.mktemp("runs") / "straight", settings())


def made_trainer(checkpoint: Path, *, dtype: str = "f32", accumulation: int = 1, recompute: bool = False):
    from teachers.openvla.finetune.adapter import add_lora
    from teachers.openvla.finetune.step import Trainer
    from teachers.openvla.server.loading import load_parts

    parts = load_parts(checkpoint, dtype=dtype, device="cpu", statistics_key="bridge_orig")
    matrices = add_lora(parts.model, LoraSettings(rank=4), seed=0)
    if recompute:
        parts.model.language_model.recompute_activations()
    half = dtype == "bf16"
    options = {"accumulation": accumulation, "half": half}
    return Trainer(parts.model, matrices, OptimizerSettings(), parts.preprocessor, parts.tokens, **options)


def made_batch(checkpoint: Path):
    """Four samples, prompts of two lengths."""
    from teachers.openvla.finetune.data import Samples, read
    from teachers.openvla.server.action_tokens import ActionTokens
    from teachers.openvla.server.prompts import Prompter

    recordings = read([EPISODES], DataSettings(), 56)
    batch = Samples(recordings, np.arange(4), Prompter(checkpoint), ActionTokens()).batch(0, 4)
    assert len({len(each) for each in batch.prompts}) == 2
    return batch


def test_the_loss_is_the_cross_entropy_of_the_answer(policy: OpenVLAPolicy, checkpoint: Path) -> None:
    """Against numpy: logits of whole sequences, one by one without padding, and labels that mask all but the answer."""
    import torch

    from teachers.openvla.finetune.data import pixels
    from teachers.openvla.finetune.step import token_loss, token_metrics
    from teachers.openvla.server.decoding import logits_along

    batch, model = made_batch(checkpoint), policy.parts.model
    losses, hits, distances = [], [], []
    with torch.inference_mode():
        images = model.embed_images(pixels(batch, policy.parts.preprocessor))
        along = logits_along(model, images, batch.prompts, batch.targets)
        found = token_loss(along, batch.targets), token_metrics(along, batch.targets, policy.parts.tokens)
        for row, prompt in enumerate(batch.prompts):
            ids = [*prompt, *batch.targets[row].tolist()]
            (whole,) = model.sequences(images[row : row + 1], [ids])
            logits = model.language_model.logits(model.language_model.hidden(whole[None], None, None))[0].numpy()
            ignored = [-100] * (len(prompt) + images.shape[1])
            labels = np.array([*ignored, *batch.targets[row].tolist()])
            logits, labels = logits[:-1].astype(np.float64), labels[1:]  # each position predicts the next
            kept = labels != -100
            assert kept.sum() == 8
            logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            losses.extend(-logs[kept, labels[kept]])
            actions = np.flatnonzero(kept)[:-1]
            hits.extend(logits[actions].argmax(-1) == labels[actions])
            # Token 31744 + c stands for 1 - (2c - 1) / 255, and c = 0 for the same as c = 1.
            value = [1 - (2 * max(c, 1) - 1) / 255 for c in range(256)]
            guess = logits[actions][:, 31744:32000].argmax(-1)
            distances.extend(abs(value[g] - value[t - 31744]) for g, t in zip(guess, labels[actions], strict=True))
    assert float(found[0]) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(found[1]["action_accuracy"]) == pytest.approx(np.mean(hits))
    assert float(found[1]["action_l1"]) == pytest.approx(np.mean(distances), rel=1e-5)


def test_only_matrices_are_trained_and_they_change_nothing_at_first(policy: OpenVLAPolicy, checkpoint: Path) -> None:
    import torch

    from teachers.openvla.finetune.data import pixels
    from teachers.openvla.server.decoding import logits_along

    trainer, batch = made_trainer(checkpoint), made_batch(checkpoint)
    # Per tower 3 used blocks of 4 layers, the projector's 3, and 7 of each of 3 layers of Llama: 48 times A and B.
    assert len(trainer.trainable) == 2 * (2 * 3 * 4 + 3 + 3 * 7)
    assert {id(p) for p in trainer.model.parameters() if p.requires_grad} == {id(p) for p in trainer.trainable.values()}
    assert not any("lm_head" in name or "patch_embed" in name for name in trainer.trainable)
    with torch.inference_mode():
        one, other = (
            logits_along(
                model, model.embed_images(pixels(batch, policy.parts.preprocessor)), batch.prompts, batch.targets
            )
            for model in (trainer.model, policy.parts.model)
        )
    assert torch.equal(one, other)


def test_the_first_step_by_hand(checkpoint: Path) -> None:
    """Adam's first step is the rate times the gradient's sign, after the decay; B has a gradient and A, at B = 0, none.

    A thus becomes A (1 - rate decay), and B -rate sign(g), where the gradient is not tiny.
    """
    trainer = made_trainer(checkpoint)
    before = {name: p.detach().clone() for name, p in trainer.trainable.items()}
    trainer.step(made_batch(checkpoint), 0)
    rate, decay = 5e-4, 0.01
    for name, parameter in trainer.trainable.items():
        if ".lora_A." in name:
            np.testing.assert_allclose(parameter.detach(), before[name] * (1 - rate * decay), rtol=1e-6)
        else:
            assert not before[name].any()
            np.testing.assert_array_equal(parameter.detach().sign(), -parameter.grad.sign())
            large = parameter.grad.abs() > 1e-5
            np.testing.assert_allclose(parameter.detach().abs()[large], rate, rtol=2e-3)


@pytest.mark.parametrize("change", [{"accumulation": 2}, {"recompute": True}])
def test_saving_memory_changes_nothing(checkpoint: Path, change: dict) -> None:
    batch = made_batch(checkpoint)
    plain, other = made_trainer(checkpoint), made_trainer(checkpoint, **change)
    passes = {id(each): 0 for each in (plain, other)}
    for each in (plain, other):
        count = functools.partial(lambda key, *unused: passes.update({key: passes[key] + 1}), id(each))
        each.model.language_model.model.layers[0].mlp.register_forward_pre_hook(count)
    one, two = plain.step(batch, 0), other.step(batch, 0)
    assert passes == {id(plain): 1, id(other): 2}  # two micro-batches, or one pass and one more for the gradient
    for name in one:
        assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4), name
    for name, parameter in plain.trainable.items():
        np.testing.assert_allclose(other.trainable[name].grad, parameter.grad, atol=1e-5 * float(one["gradient_norm"]))


def test_bfloat16_computes_and_float32_is_trained(checkpoint: Path) -> None:
    import torch

    batch = made_batch(checkpoint)
    half, full = made_trainer(checkpoint, dtype="bf16"), made_trainer(checkpoint)
    one, two = half.step(batch, 0), full.step(batch, 0)
    assert half.model.dtype == torch.bfloat16
    assert {p.dtype for p in half.trainable.values()} == {torch.float32}
    assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=0.02) and float(one["loss"]) != float(
        two["loss"]
    )


def test_what_a_run_writes(straight: Result) -> None:
    rows = [json.loads(line) for line in (straight.directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 4, 6]
    assert ["validation/loss" in row for row in rows] == [False, True, False, True]
    assert [row["train/learning_rate"] for row in rows] == pytest.approx([2e-3] * 4)
    assert {"train/action_accuracy", "train/action_l1", "validation/action_accuracy"} <= set(rows[1])
    statistics = json.loads((straight.directory / "dataset_statistics.json").read_text())
    assert list(statistics) == ["demonstrations"] and statistics["demonstrations"]["num_trajectories"] == 4
    assert statistics["demonstrations"]["action"]["mask"] == [True] * 6 + [False]
    assert sorted(path.name for path in (straight.directory / "checkpoints").iterdir()) == ["6.safetensors"]
    serving = read_serving(straight.directory)
    assert (serving.steps, serving.planned, serving.prompt) == (straight.step, straight.step, "openvla")
    assert (serving.statistics_key, serving.cameras) == ("demonstrations", {"image_primary": "rgb"})
    trained_on = serving.trained_on
    assert trained_on["instructions"] == list(INSTRUCTIONS) and trained_on["image_sizes"] == [64]
    assert not straight.interrupted and straight.step == 6


def test_a_run_that_diverges_stops_and_keeps_its_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    """The second step begins with matrices of 1e18, and would be saved in place of the first."""
    wild = OptimizerSettings(learning_rate=1e18)
    made = settings(save_every=1, validate_every=0, log_every=100, optimizer=wild)
    with pytest.raises(Diverged, match=r"is nan at step 2: training stopped, the checkpoint of step 1 in") as error:
        run(checkpoint, tmp_path / "run", made)
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["1.safetensors"]


def test_resuming_is_exact(straight: Result, checkpoint: Path, tmp_path: Path) -> None:
    """Six steps are three, a stop and three more, bit by bit: augmentation, moments and metrics too."""
    first = run(checkpoint, tmp_path / "run", settings(), callbacks=[StopAfter(3)])
    assert first.interrupted and first.step == 3
    second = run(checkpoint, tmp_path / "run", settings(), resume=True)
    assert not second.interrupted and second.step == 6
    for name in ("adapter_model.safetensors", "checkpoints/6.safetensors"):
        from safetensors.torch import load_file

        one, other = (load_file(directory / name) for directory in (straight.directory, second.directory))
        assert one.keys() == other.keys() and all((one[key] == other[key]).all() for key in one)
    names = [name for name in straight.history[-1] if not name.startswith("time")]
    for one, other in zip(straight.history, second.history, strict=True):
        assert [one[name] for name in names if name in one] == [other[name] for name in names if name in other]


def test_merging_when_asked(straight: Result, checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(straight.directory, copy)
    result = run(checkpoint, copy, settings(merge=True), resume=True)
    assert result.step == 6 and (copy / "merged" / "model.safetensors.index.json").is_file()
    assert (copy / "merged" / SERVING_FILE).read_bytes() == (copy / SERVING_FILE).read_bytes()


def test_stopping_between_two_rows_loses_no_metrics(straight: Result, checkpoint: Path, tmp_path: Path) -> None:
    run(checkpoint, tmp_path / "run", settings(), callbacks=[StopAfter(5)])
    second = run(checkpoint, tmp_path / "run", settings(), resume=True)
    assert second.history[-1]["train/loss"] == straight.history[-1]["train/loss"]


def test_directories_are_not_overwritten_unasked(straight: Result, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use resume=True, overwrite=True or another path"):
        run(checkpoint, straight.directory, settings())
    with pytest.raises(ConfigError, match="demonstrations: not what the run to resume was given"):
        run(checkpoint, straight.directory, settings(), [OTHER], resume=True)
    with pytest.raises(ConfigError, match="seed=2 cannot work: the run to resume has 1"):
        run(checkpoint, straight.directory, settings(seed=2), resume=True)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="will not be overwritten: it is not a run"):
        run(checkpoint, tmp_path, settings(), overwrite=True)
    copy = tmp_path / "copy"
    shutil.copytree(straight.directory, copy)
    result = run(checkpoint, copy, settings(steps=1, validate_every=0), overwrite=True)
    assert result.step == 1 and json.loads((copy / SETTINGS_FILE).read_text())["steps"] == 1


def test_what_cannot_be_resumed_or_loaded_is_named(straight: Result, checkpoint: Path, tmp_path: Path) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    copy = tmp_path / "copy"
    shutil.copytree(straight.directory, copy)
    state = copy / "checkpoints" / "6.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"6\.safetensors cannot be resumed: it is damaged"):
        run(checkpoint, copy, settings(steps=7), resume=True)
    with pytest.raises(ValueError, match=r"is no checkpoint: it has no config\.json"):
        run(tmp_path / "nowhere", tmp_path / "run", settings())
    with pytest.raises(ValueError, match="device='gpu' is unknown"):
        run(checkpoint, tmp_path / "run", settings(device="gpu"))
    assert not (tmp_path / "run").exists()
    config = copy / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "gone"}))
    with pytest.raises(ValueError, match="base_model_name_or_path='gone' is no directory"):
        OpenVLAPolicy.load(copy, dtype="f32", device="cpu")


def test_a_damaged_checkpoint_is_not_resumed_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    from teachers.openvla.finetune.state import StateStore

    store = StateStore(tmp_path, keep=2)
    for step in (1, 2):
        store.save(step, {"m": torch.full((64,), float(step))}, {"step": step})
    newest = tmp_path / "checkpoints" / "2.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1  # in a number: the file can still be read
    newest.write_bytes(content)
    tensors, host = store.resume({})
    assert host == {"step": 1} and tensors["m"][0] == 1
    assert "differs from what was saved" in caplog.text and store.steps() == [1]
    assert (tmp_path / "set_aside.1" / "checkpoints" / "2.safetensors").read_bytes() == content


def test_a_full_memory_is_said_in_a_line(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from teachers.openvla.finetune.step import Trainer

    def full(*unused: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "step", full)
    with pytest.raises(ConfigError, match="batches of 2 need more memory than cpu has: raise accumulation"):
        run(checkpoint, tmp_path / "run", settings(accumulation=2))
