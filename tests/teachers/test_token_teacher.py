"""Teachers with action tokens in processes of their own: labels with tokens, and scores of given ones."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from arm_spec import arm_spec
from token_model import BINS, DIMS, TokenModel, logits_of

from rpd_jax import Config, train
from rpd_jax.config import ConfigError, EnvConfig, EvalConfig, NetworkConfig, OPDConfig
from teachers.conventions import CONTRACTS
from teachers.converted import ConvertedTeacher
from teachers.sidecar.launching import Replica
from teachers.sidecar.teacher import SidecarTeacher

ENV = arm_spec(frame_shape=(4, 4, 3))
FRAMES = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), np.uint8)
KEY = jax.random.key(0)


def open_teacher(module):
    environment = {"PYTHONPATH": str(Path(__file__).parent)}
    return SidecarTeacher(ENV, [Replica(module, environment=environment)] * 2, rows=4)


@pytest.fixture(scope="module")
def teacher():
    with open_teacher("token_model") as teacher:
        yield teacher


def test_labels_come_with_tokens_and_their_distributions(teacher):
    assert teacher.spec.token_bins == BINS
    found = teacher.label_tokens({"rgb": FRAMES}, "push", KEY)
    jax.tree.map(np.testing.assert_array_equal, found.labels, teacher.label({"rgb": FRAMES}, "push", KEY))
    np.testing.assert_array_equal(found.labels.action, np.asarray(found.tokens) / 4)
    np.testing.assert_array_equal(found.scores.logits, logits_of(FRAMES, found.tokens))
    np.testing.assert_array_equal(found.scores.logits.argmax(-1), found.tokens)
    assert found.labels.valid.all() and found.tokens.dtype == np.int32


def test_scores_are_those_of_the_tokens_given(teacher):
    tokens = np.random.default_rng(1).integers(0, BINS, (len(FRAMES), DIMS))
    scores = teacher.score({"rgb": FRAMES}, "push", tokens)
    np.testing.assert_array_equal(scores.logits, logits_of(FRAMES, tokens.astype(np.int32)))
    np.testing.assert_allclose(np.exp(scores.logits - scores.logsumexp[..., None]).sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.full((11, DIMS), BINS), r"tokens: need integers in \[0, 5\), got int64 5 to 5"),
        (np.full((11, DIMS), -1), r"need integers in \[0, 5\), got int64 -1 to -1"),
        (np.zeros((11, DIMS)), "need integers"),
        (np.zeros((11, 3), int), r"tokens: need shape \(B, 7\) with B >= 1, got \(11, 3\)"),
        (np.zeros((0, DIMS)), r"got \(0, 7\)"),
    ],
)
def test_what_are_no_tokens_is_refused(teacher, tokens, message):
    with pytest.raises(ValueError, match=message):
        teacher.score({"rgb": FRAMES}, "push", tokens)


def test_a_model_without_tokens_scores_none():
    with open_teacher("teachers.sidecar.linear") as teacher:
        assert teacher.spec.token_bins == 0
        with pytest.raises(ValueError, match="linear has no action tokens"):
            teacher.score({"rgb": FRAMES}, "push", np.zeros((11, DIMS), int))
        with pytest.raises(ValueError, match="linear has no action tokens"):
            teacher.label_tokens({"rgb": FRAMES}, "push", KEY)


def test_converted_labels_keep_their_tokens(teacher):
    class Foreign:
        spec = teacher.spec.__class__(**{**vars(teacher.spec), "contract": CONTRACTS["juelg_octo"]})
        label, label_tokens, score = teacher.label, teacher.label_tokens, teacher.score

    env = ENV.__class__(**{**vars(ENV), "contract": CONTRACTS["maniskill"]})
    converted = ConvertedTeacher(Foreign(), env)
    found, own = (each.label_tokens({"rgb": FRAMES}, "push", KEY) for each in (converted, teacher))
    jax.tree.map(np.testing.assert_allclose, found.labels, converted.label({"rgb": FRAMES}, "push", KEY))
    assert np.abs(found.labels.action - own.labels.action).max() > 0.01
    jax.tree.map(np.testing.assert_array_equal, (found.tokens, found.scores), (own.tokens, own.scores))
    tokens = np.zeros((11, DIMS), int)
    scores = (each.score({"rgb": FRAMES}, "push", tokens) for each in (converted, teacher))
    jax.tree.map(np.testing.assert_array_equal, *scores)


def test_the_stand_in_answers_what_it_says():
    model = TokenModel()
    fields = {"score": False, "tokens_wanted": True}
    answer = model.label({"rgb": FRAMES, "tokens": np.zeros((11, DIMS), np.int32)}, fields)
    assert answer.keys() == model.spec()["outputs"].keys()


def test_students_are_distilled_from_a_process(teacher):
    config = Config(
        variants=("reverse-kl:group_size=2:name=reverse-kl", "grpo:group_size=2:name=grpo"),
        seeds=(0,),
        env=EnvConfig(name="tabletop:PushCube-v1", num_envs=4, max_episode_steps=3, image_size=4),
        network=NetworkConfig(hidden=(8,), bins=BINS),
        algorithm=OPDConfig(rollout_length=3, total_steps=2 * 12, minibatches=2),
        eval=EvalConfig(every=0, episodes=2, num_envs=2, videos=0),
    )
    result = train(config, teacher, directory=None)
    row = result.history[-1]
    assert row["teacher/labels/reverse-kl/0"] == row["teacher/covered/reverse-kl/0"] == 2 * 12
    assert "teacher/labels/grpo/0" not in row and row["teacher/refused"] == 0
    assert np.isfinite(row["update/reverse_kl/reverse-kl/0"]) and np.isnan(row["update/reverse_kl/grpo/0"])
    other = dataclasses.replace(config, network=NetworkConfig(hidden=(8,), bins=BINS + 1))
    with pytest.raises(ConfigError, match=r"teacher tokens: its tokens have bins=5, the student's 6"):
        train(other, teacher, directory=None)
