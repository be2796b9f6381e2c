"""The tiny OpenVLA as a teacher in its own process, end to end. Its weights are random: only the path is tested."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from arm_spec import arm_spec

import rpd_jax
from rpd_jax.config import TeacherConfig
from rpd_jax.envs.registry import make_env
from rpd_jax.instructions import Instructions
from rpd_jax.ipc.supervised import SidecarFailed
from teachers.base import load
from teachers.conventions import MANISKILL_EE
from teachers.digest import digest
from teachers.settings import teacher_factory
from teachers.sidecar.server import instructions_fields

ROOT = Path(__file__).resolve().parents[3]


def config_for(directory, checkpoint, env="tabletop:PickCube-v1"):
    config = rpd_jax.get_preset("quickstart")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.env.name, config.env.num_envs, config.env.image_size, config.env.max_episode_steps = env, 2, 56, 8
    if env.startswith("maniskill"):
        config.env.processes = 1
    config.network.hidden = (16,)
    ppo = config.algorithm
    ppo.total_steps, ppo.rollout_length, ppo.epochs, ppo.minibatches = 48, 8, 1, 2
    teacher = config.teacher = TeacherConfig(name="openvla", path=str(checkpoint), contract="maniskill")
    teacher.statistics_key, teacher.dtype, teacher.devices, teacher.probe = "bridge_orig", "f32", ("cpu",), False
    teacher.batch_size = 8
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 2, 2, 0
    config.run.directory, config.run.tensorboard, config.run.checkpoint_every = str(directory), False, 0
    return config.validate()


def train(config, callbacks=()):
    """Trains, which closes the teacher; returns the result and the teacher's counters."""
    made = []
    factory = teacher_factory(config.teacher)

    def make(env):
        made.append(factory(env))
        return made[-1]

    pids = []
    record = [lambda teacher: pids.append(process_of(teacher)), *callbacks]
    result = rpd_jax.train(config, make, callbacks=[lambda snapshot: [call(made[0]) for call in record]])
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # nothing is left behind
            os.kill(pid, 0)
    return result, made[0].metrics()


def process_of(teacher) -> int:
    return teacher._teacher._calls[0]._supervised._sidecar.pid


def test_labels_are_those_of_the_model(checkpoint, policy, caplog):
    caplog.set_level("INFO")
    config = config_for("unused", checkpoint)
    env = make_env(config.env, [0, 1], rgb=True, end_on_success=False)
    frames = np.asarray(env.reset()["rgb"])
    settings = {"path": str(checkpoint), "contract": "maniskill", "statistics_key": "bridge_orig", "dtype": "f32"}
    teacher = load("openvla", env.spec, **settings, devices=("cpu",))
    try:
        labels = teacher.label({"rgb": frames}, env.spec.instruction, jax.random.key(0))
        assert teacher.spec.name == "openvla:checkpoint" and not teacher.spec.in_graph
        assert teacher.spec.token_bins == 256 and teacher.spec.checkpoint == digest(checkpoint)
        remark = "teacher openvla:checkpoint: prompts are of the style 'openvla', as its config.json names the language"
        assert any(record.message.startswith(remark) for record in caplog.records)
        found = teacher.label_tokens({"rgb": frames}, env.spec.instruction, jax.random.key(0))
        others = (np.asarray(found.tokens) + np.array([[1], [100]])) % 256
        scores = teacher.score({"rgb": frames}, env.spec.instruction, others)
        with pytest.raises(ValueError, match=r"tokens: need integers in \[0, 256\), got int64 0 to 256"):
            teacher.score({"rgb": frames}, env.spec.instruction, np.arange(14).reshape(2, 7) // 13 * 256)
        mixed = Instructions((env.spec.instruction, "push the ball away"), np.array([1, 0]))
        found_mixed = teacher.label_tokens({"rgb": frames}, mixed, jax.random.key(0))
        scores_mixed = teacher.score({"rgb": frames}, mixed, others)
    finally:
        teacher.close()
        env.close()
    direct = policy.label(frames, env.spec.instruction)
    np.testing.assert_allclose(labels.action, direct["action"], atol=1e-5)
    np.testing.assert_allclose(labels.std, np.maximum(direct["std"], 0.05), atol=1e-4)

    one = policy.label(frames[:1], mixed.texts[1])  # each row as by itself
    np.testing.assert_allclose(found_mixed.labels.action, [one["action"][0], direct["action"][1]], atol=1e-5)
    one = policy.score(frames[:1], mixed.texts[1], others[:1] + 31744)["action_logits"]
    np.testing.assert_allclose(scores_mixed.logits, [one[0], scores.logits[1]], atol=1e-4)
    assert np.abs(one[0] - scores.logits[0]).max() > 1e-3

    jax.tree.map(np.testing.assert_array_equal, found.labels, labels)
    np.testing.assert_array_equal(found.tokens, direct["tokens"][:, 0] - 31744)
    log_probabilities = found.scores.logits - found.scores.logsumexp[..., None]
    assert (np.argmax(log_probabilities, -1) == found.tokens).all()  # the most likely ones
    assert (np.exp(log_probabilities).sum(-1) < 1).all()  # other words of the vocabulary have the rest
    scored = policy.score(frames, env.spec.instruction, others + 31744)
    np.testing.assert_allclose(scores.logits, scored["action_logits"], atol=1e-4)
    np.testing.assert_allclose(scores.logsumexp, scored["logsumexp"], atol=1e-4)
    np.testing.assert_allclose(scores.logits[:, 0], found.scores.logits[:, 0], atol=1e-4)  # nothing is given before it
    assert np.abs(scores.logits[:, 1:] - found.scores.logits[:, 1:]).max() > 1e-3


@pytest.mark.parametrize(
    "env", ["tabletop:PickCube-v1", pytest.param("maniskill:PickCube-v1", marks=(pytest.mark.vulkan, pytest.mark.slow))]
)
def test_training_goes_through_a_kill_with_the_same_parameters(tmp_path, checkpoint, env):
    undisturbed, counters = train(config_for(tmp_path / "one", checkpoint, env))
    assert counters["teacher/process_restarts"] == 0

    killed = []

    def kill_once(teacher):
        if not killed:
            killed.append(process_of(teacher))
            os.kill(killed[0], signal.SIGKILL)

    disturbed, counters = train(config_for(tmp_path / "two", checkpoint, env), [kill_once])
    assert killed and counters["teacher/process_restarts"] == 1
    for a, b in zip(jax.tree.leaves(undisturbed.params), jax.tree.leaves(disturbed.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [row.teacher_calls for row in disturbed.table] == [0, 0, 48]


@pytest.mark.vulkan
@pytest.mark.slow
def test_it_labels_maniskills_frames(tmp_path, checkpoint):
    """Of every step for RPD; for VLAJS a quarter of the 48 steps, and no other frame is drawn."""
    config = config_for(tmp_path / "run", checkpoint, "maniskill:PickCube-v1")
    config.variants = ("rpd-mse", "vlajs-persistent:query_fraction=0.25:name=vlajs")
    result, _ = train(config.validate())
    assert [row.variant for row in result.table] == ["teacher:openvla:checkpoint", "rpd-mse", "vlajs"]
    assert [row.teacher_calls for row in result.table] == [0, 48, 12]
    assert np.isfinite(result.history[-1]["update/distill_mse/rpd-mse/0"])
    assert 0 < result.history[-1]["update/distill_direction/vlajs/0"] <= 4


def test_a_model_that_is_served_already(tmp_path, checkpoint, policy, frames):
    """Started by hand; asked with the settings that a run has when it is told no more than the socket."""
    path, log = tmp_path / "own" / "socket", tmp_path / "log"
    flags = [f"--checkpoint={checkpoint}", "--contract=maniskill", "--statistics-key=bridge_orig", "--dtype=f32"]
    command = [sys.executable, "-m", "launch.serve_teacher", "--teacher=openvla", f"--socket={path}"]
    command += [f"--argument={flag}" for flag in (*flags, "--device=cpu", "--max-batch=4")]
    spec = arm_spec(frame_shape=frames.shape[1:])
    settings = {"socket": str(path), "rows": 4}
    with pytest.raises(SidecarFailed, match="no server is listening there"):
        load("openvla", spec, **settings)
    with log.open("w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as server:
        try:
            end = time.monotonic() + 120
            while not path.exists() and server.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            assert path.exists(), log.read_text()
            teacher = load("openvla", spec, **settings)
            try:
                labels = teacher.label({"rgb": frames}, "push", jax.random.key(0))
                assert teacher.spec.name == "openvla:checkpoint" and teacher.spec.contract == MANISKILL_EE
            finally:
                teacher.close()
            assert server.poll() is None  # it goes on
        finally:
            server.terminate()
    np.testing.assert_allclose(labels.action, policy.label(frames, "push")["action"], atol=1e-5)


def test_frames_are_made_as_libero_made_its(checkpoint, policy, frames):
    from teachers.openvla.server.main import load, parse

    flags = [f"--checkpoint={checkpoint}", "--contract=maniskill", "--statistics-key=bridge_orig", "--dtype=f32"]
    model = load(parse([*flags, "--device=cpu", "--frames=libero", "--max-batch=2", "--samples=3"]))
    made = model._policy
    assert (made.parts.preprocessor.libero, made.parts.preprocessor.center_crop) == (True, False)
    assert made.max_batch == 3  # a frame's samples
    fields = {**instructions_fields(["push"] * 2), "seed": 0, "score": False, "tokens_wanted": False}
    answer = model.label({"rgb": frames[:2]}, fields)
    assert set(answer) == {"action", "std", "valid"}
    assert np.abs(answer["action"] - policy.label(frames[:2], "push", 3)["action"]).max() > 1e-3


@pytest.fixture(scope="module")
def spec(checkpoint):
    """Of the environment that `config_for` names, which draws frames."""
    env = make_env(config_for("unused", checkpoint).env, [0], rgb=True, end_on_success=False)
    try:
        return env.spec
    finally:
        env.close()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rows", 0, "teacher.rows=0 cannot work: it must be at least 1"),
        ("devices", ("cuda:1",), "teacher.devices='cuda:1' is unknown"),
        ("path", "", "teacher.path is empty"),
        ("contract", "", "an OpenVLA checkpoint does not say what its actions mean"),
        ("statistics_key", "mars", "bridge_orig"),
    ],
)
def test_mistakes_are_named(checkpoint, spec, field, value, message):
    settings = {"path": str(checkpoint), "contract": "maniskill", "statistics_key": "bridge_orig", "devices": ("cpu",)}
    with pytest.raises((ValueError, RuntimeError), match=message):
        load("openvla", spec, **{**settings, field: value})
