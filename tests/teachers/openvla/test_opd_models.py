"""Student and teacher on one base, what they must share, what is kept, and one optimizer step beside plain autograd."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from pictured import made_adapter, settings

from rpd_jax.config.validation import ConfigError
from rpd_jax.types import ActionContract
from teachers.conventions import CONTRACTS

pytest.importorskip("peft", reason="distillation needs peft: pip install -r teachers/openvla/requirements.txt")

from accelerate import Accelerator

from teachers.openvla.finetune.adapter import STUDENT
from teachers.openvla.finetune.settings import LoraSettings
from teachers.openvla.opd.environments import Environments, share
from teachers.openvla.opd.losses import token_weights
from teachers.openvla.opd.models import load_pair
from teachers.openvla.opd.rollout import Rollout, Seen, roll_out
from teachers.openvla.opd.scores import score
from teachers.openvla.opd.update import Learner
from teachers.openvla.server.batching import uniform_numbers
from teachers.openvla.server.oft.policy import OFTPolicy
from teachers.openvla.server.oft.settings import PLATFORMS
from teachers.openvla.server.policy import OpenVLAPolicy

CONTRACT: ActionContract = CONTRACTS["oxe_metric"]
WORDS = "leave your place"


@pytest.fixture(scope="module")
def expert(checkpoint, tmp_path_factory):
    return made_adapter(checkpoint, tmp_path_factory.mktemp("models") / "expert", seed=5)


def pair_of(checkpoint, teacher, **values):
    return load_pair(checkpoint, teacher, settings(**values), "cpu")


def rolled(pair, made) -> Rollout:
    envs = Environments(made, share(made.seed, made.groups, 0, 1, "groups"), made.group_size, CONTRACT)
    total = made.groups * made.group_size
    return roll_out(
        envs,
        0,
        pair.student,
        draw=lambda decision: uniform_numbers((total, pair.student.count), decision),
        temperature=made.temperature,
        max_batch=made.max_batch,
        seen=Seen(keeps=pair.keeps_features, gib=made.features_gib),
    )


@pytest.mark.parametrize("oft", ["", "libero-tokens"])
def test_networks_give_what_the_policies_give(checkpoint, expert, frames, oft) -> None:
    """The teacher beside the student, as if it were alone; greedy tokens; and the student is itself again after."""
    pair = pair_of(checkpoint, expert, oft=oft)
    assert pair.teacher is pair.student and pair.shares_features
    few, options = frames[:2], {"dtype": "f32", "device": "cpu"}
    words = [WORDS] * 2
    for directory in (checkpoint, expert, checkpoint):
        named = options | ({"statistics_key": "bridge_orig"} if directory == checkpoint else {})
        if oft:
            labels = OFTPolicy.load(directory, PLATFORMS[oft], **named).label(few[:, None], WORDS)
            action = labels["action"]
        else:
            labels = OpenVLAPolicy.load(directory, **named).label(few, WORDS)
            action = labels["action"][:, None]
        with pair.teaching() if directory == expert else torch.no_grad(), torch.no_grad():
            images = pair.student.images(few)
            columns = pair.student.choose(images, words, None, 1.0)
            logits = pair.student(words, columns, images)
        expected = labels["tokens"][:, 0] - pair.student.tokens.columns.start
        np.testing.assert_array_equal(columns, expected)
        np.testing.assert_allclose(logits, labels["action_logits"].reshape(logits.shape), atol=1e-4)
        np.testing.assert_allclose(pair.student.actions(columns), action, atol=1e-6)
    assert all(matrix.requires_grad for matrix in pair.matrices.values())
    trained = [name for name, each in pair.student.named_parameters() if each.requires_grad]
    assert len(trained) == len(pair.matrices) and all(f".{STUDENT}." in name for name in trained)


def test_a_student_begins_with_its_adapter_and_a_teacher_may_be_a_whole_model(checkpoint, frames, tmp_path) -> None:
    """Of an adapter with matrices in the vision tower too, which stay as they are, so that features are kept."""
    begun = made_adapter(checkpoint, tmp_path / "begun", 6, targets=("projector", "language_model"))
    pair = pair_of(begun, checkpoint)
    assert pair.teacher is not pair.student and pair.keeps_features and not pair.shares_features
    assert pair.lora.rank == 3 and {name.split(".")[2] for name in pair.trainable} == {"language_model"}
    assert {name.split(".")[2] for name in pair.matrices} == {"language_model", "projector"}
    alone = OpenVLAPolicy.load(begun, dtype="f32", device="cpu").label(frames[:2], WORDS)
    columns = pair.student.choose(pair.student.images(frames[:2]), [WORDS] * 2, None, 1.0)
    np.testing.assert_array_equal(columns + pair.student.tokens.columns.start, alone["tokens"][:, 0])
    with pytest.raises(
        ConfigError, match=r"lora\.targets=\('vision_backbone',\) cannot work: it must be some of language"
    ):
        pair_of(begun, checkpoint, lora=LoraSettings(targets=("vision_backbone",)))


def test_tokens_after_success_do_not_count(checkpoint, expert) -> None:
    """Of a chunk of eight and episodes of four steps; trajectories of a group begin alike."""
    made = settings(oft="libero-tokens", group_size=6)
    pair = pair_of(checkpoint, expert, oft="libero-tokens")
    found = rolled(pair, made)
    assert found.columns.shape == found.mask.shape == (12, 56)
    mask = found.mask.reshape(12, 8, 7)
    assert not mask[:, 4:].any() and (mask == mask[..., :1]).all() and mask[:, 0].all()
    steps = np.clip(pair.student.actions(found.columns)[:, :4, 0] / 0.05, -1, 1)  # of the environment's contract
    moved = np.abs(np.cumsum(steps, axis=1)) > 0.9
    assert 0 < moved.any(1).sum() < 12 and mask[:, :4, 0].sum() < 48 - 2
    for row in range(12):
        first = int(np.argmax(moved[row])) if moved[row].any() else 3
        assert mask[row, :4, 0].tolist() == [step <= first for step in range(4)]
        assert bool(found.success[row]) == moved[row].any()
    firsts = found.seen.frames(list(range(12)))
    assert (firsts[::2] == firsts[0]).all() and (firsts[1::2] == firsts[1]).all() and (firsts[0] != firsts[1]).any()


@pytest.mark.parametrize(
    ("oft", "objective", "normalize"),
    [("", "reverse_kl", "sum"), ("libero-tokens", "forward_kl", "token"), ("", "reverse_kl_sampled", "trajectory")],
)
def test_one_optimizer_step_is_that_of_plain_autograd(checkpoint, expert, oft, objective, normalize) -> None:
    made = settings(oft=oft, objective=objective, normalize=normalize)
    learned, plain = (pair_of(checkpoint, expert, oft=oft) for _ in range(2))
    rollout = rolled(learned, made)
    ratio = objective == "reverse_kl_sampled"
    scores = score(learned, rollout, temperature=made.temperature, max_batch=3, ratio=ratio)
    metrics = Learner(learned, made, Accelerator(cpu=True)).update(rollout, scores, 0)

    rows = list(range(len(rollout.instructions)))
    seen = rollout.seen.frames(rows)
    lp = (plain.student(rollout.instructions, rollout.columns, frames=seen) / made.temperature).log_softmax(-1)
    with plain.teaching() as teacher, torch.no_grad():
        q = (teacher(rollout.instructions, rollout.columns, frames=seen) / made.temperature).log_softmax(-1)
    chosen = [x.gather(-1, rollout.columns[..., None])[..., 0] for x in (lp, q)]
    each = {
        "reverse_kl": (lp.exp() * (lp - q)).sum(-1),
        "forward_kl": (q.exp() * (q - lp)).sum(-1),
        "reverse_kl_sampled": -chosen[0] * (chosen[1] - chosen[0]).detach(),
    }[objective]
    total = 0.0
    own = [rollout.mask[rollout.trajectory == n].sum() for n in range(4)]
    for row, n in enumerate(rollout.trajectory.tolist()):
        over = {"sum": 4, "token": sum(own), "trajectory": 4 * own[n]}[normalize]
        total = total + (each[row] * rollout.mask[row]).sum() / over
    total.backward()
    names = list(plain.matrices)
    optimizer = torch.optim.AdamW(plain.matrices.values(), lr=2e-3, weight_decay=0.01)
    norm = torch.nn.utils.clip_grad_norm_(plain.matrices.values(), 1.0)
    optimizer.step()
    assert metrics["loss"] == pytest.approx(float(total.detach()), rel=1e-4)
    assert metrics["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)
    for name in names:
        one, other = learned.matrices[name].detach(), plain.matrices[name].detach()
        np.testing.assert_allclose(learned.matrices[name].grad, plain.matrices[name].grad, atol=1e-6)
        large = plain.matrices[name].grad.abs() > 1e-4  # Adam's first step is a sign, of noise where it is tiny
        np.testing.assert_allclose(one[large], other[large], atol=2e-6)


@pytest.mark.parametrize("change", [{"features_gib": 0.0}, {"gradient_checkpointing": True}, {"micro_batch": 1}])
def test_saving_memory_changes_nothing(checkpoint, expert, change) -> None:
    found = []
    for values in ({}, change):
        made = settings(**values)
        pair = pair_of(checkpoint, expert, **values)
        rollout = rolled(pair, made)
        assert rollout.seen.kept == ("features_gib" not in values)
        scores = score(pair, rollout, temperature=made.temperature, max_batch=3, ratio=False)
        found.append((Learner(pair, made, Accelerator(cpu=True)).update(rollout, scores, 0), pair))
    (one, first), (other, second) = found
    assert one == pytest.approx(other, rel=1e-4)
    for name, matrix in first.matrices.items():
        np.testing.assert_allclose(second.matrices[name].grad, matrix.grad, atol=1e-6)


def test_matrices_in_the_vision_tower_are_trained_and_nothing_is_kept(checkpoint, expert) -> None:
    made = settings(lora=LoraSettings(rank=2, targets=("vision_backbone", "projector")))
    pair = load_pair(checkpoint, expert, made, "cpu")
    rollout = rolled(pair, made)
    assert not pair.keeps_features and rollout.seen.kept == 0
    scores = score(pair, rollout, temperature=made.temperature, max_batch=3, ratio=False)
    metrics = Learner(pair, made, Accelerator(cpu=True)).update(rollout, scores, 0)
    assert metrics["gradient_norm"] > 0 and any(matrix.grad.any() for matrix in pair.matrices.values())


def test_what_student_and_teacher_do_not_share_is_refused(checkpoint, expert, tmp_path) -> None:
    as_student = settings().teacher

    def refused(teacher, message, **named):
        with pytest.raises(ConfigError, match=message) as error:
            load_pair(checkpoint, teacher, settings(teacher=dataclasses.replace(as_student, **named)), "cpu")
        assert "\n" not in str(error.value)

    refused(expert, "chunk is 1 for the student and 8 for the teacher", oft="libero-tokens")
    statistics = json.loads((checkpoint / "config.json").read_text())["norm_stats"]
    other = next(key for key in statistics if key != "bridge_orig")
    message = f"statistics_key is 'bridge_orig' for the student and '{other}' for the teacher"
    refused(checkpoint, message, statistics_key=other)
    changed = tmp_path / "changed"
    shutil.copytree(expert, changed)
    path = changed / "dataset_statistics.json"
    values = json.loads(path.read_text())
    values["bridge_orig"]["action"]["q99"][4] += 0.5
    path.write_text(json.dumps(values))
    head = tmp_path / "head"
    shutil.copytree(checkpoint, head)
    (head / "action_head--latest_checkpoint.pt").touch()
    refused(head, r"head' answers by its action_head--latest_checkpoint\.pt: its tokens mean nothing")
    refused(changed, "high of action dimension 4 is .* for the student and .* for the teacher: the same token")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": "reverse_kl_sampled", "minibatches": 2}, r"epochs \* minibatches=2 cannot work: it must be 1"),
        ({"phases": ("reverse_kl:2:1e-3", "reverse_kl_sampled:4:1e-3"), "epochs": 2}, r"epochs \* minibatches=2"),
        ({"phases": ("reverse_kl:4:1e-3", "grpo:2:1e-3")}, "phases=.* ending at iterations that rise"),
        ({"phases": ("grpo:2",)}, "phases='grpo:2' cannot work: it must be objective:until:learning_rate"),
        ({"phases": ("sft:2:1e-3",)}, "phases: objective='sft' is unknown"),
    ],
)
def test_settings_that_cannot_work(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**values).validate()


def test_phases_follow_each_other() -> None:
    made = settings(phases=("reverse_kl:2:1e-3", "grpo:4:1e-4")).validate()
    assert [made.phase(n).objective for n in (0, 1, 2, 9)] == ["reverse_kl", "reverse_kl", "grpo", "grpo"]
    assert token_weights(torch.ones(1, 1, dtype=torch.bool), made.normalize).item() == 1
