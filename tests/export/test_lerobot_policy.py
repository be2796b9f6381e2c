"""Exported policies for LeRobot: the files, what the plugin's network does, and LeRobot itself where it is installed.

The last needs LEROBOT_PYTHON, an interpreter (3.12 or newer) whose environment has `pip install 'lerobot[dataset]'`.
"""

import dataclasses
import hashlib
import json
import os
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from exported import OBSERVATIONS, configure, save_made_up

from rpd_jax.config import ConfigError
from rpd_jax.export import files, lerobot_policy, lerobot_weights, runner
from rpd_jax.training.student import load_student

PYTHON = os.environ.get("LEROBOT_PYTHON")


def acts(student):
    """The plugin's policy, from the files of an export."""
    pytest.importorskip("torch")
    written = lerobot_policy.lerobot_files(student)
    return lerobot_weights.policy_of(json.loads(written[lerobot_policy.CONFIG]), written[lerobot_policy.WEIGHTS])


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A student of action tokens."""
    config = configure("quickstart", tmp_path_factory.mktemp("runs") / "tokens")
    config.env.observation, config.algorithm.name, config.network.bins = "ee", "sft", 16
    config.variants, config.algorithm.demonstrations = ("sft",), ("none.h5",)
    save_made_up(config)
    return load_student(config.run.directory, "", 1)


@pytest.mark.parametrize("kind", [*OBSERVATIONS, "ee"])
def test_the_plugin_acts_as_the_student(exports, kind):
    student, _ = exports[kind]
    params = jax.tree_util.tree_map_with_path(  # so that actions reach the ends of the box
        lambda path, x: 20.0 * x if "actor_out" in str(path) else x, student.member.params
    )
    low, high = (-1.0, -0.5, -0.25, -1.0, -1.0, -1.0, 0.0), (1.0, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0)
    spec = dataclasses.replace(student.spec, action_low=low, action_high=high)
    student = dataclasses.replace(student, spec=spec, member=student.member._replace(params=params))
    act, near = acts(student), files.random_observation(student, 64)
    far = {name: x if x.dtype == np.uint8 else 1e4 * x for name, x in near.items()}  # beyond where it is clipped
    for observation in (near, far):
        action = act(observation)
        np.testing.assert_allclose(action, student.act(observation), atol=1e-4, rtol=0)
        assert action.shape == (64, 7) and action.std(axis=0).max() > 0.05


def test_tokens_become_actions(tokens):
    observation = files.random_observation(tokens, 64)
    action = acts(tokens)(observation)
    np.testing.assert_allclose(action, tokens.act(observation), atol=1e-6, rtol=0)
    assert len(np.unique(action)) > 2


def test_names_and_units_are_told(exports):
    config = json.loads(lerobot_policy.lerobot_files(exports["ee"][0])[lerobot_policy.CONFIG])
    assert config["input_features"] == {"observation.state": {"type": "STATE", "shape": [28]}}
    told = dict(zip(config["state_names"], config["state_units"], strict=True))
    assert len(told) == 28 and told["tcp_pos.x.pos"] == told["width.pos"] == "m"
    told = dict(zip(config["action_feature_names"], config["action_units"], strict=True))
    assert list(told) == ["x.vel", "y.vel", "z.vel", "roll.vel", "pitch.vel", "yaw.vel", "gripper.pos"]
    assert (told["x.vel"], told["yaw.vel"], told["gripper.pos"]) == ("0.1 m", "0.1 rad", "1 (-1 closed, 1 open)")
    assert config["control_hz"] == pytest.approx(20.0)
    inputs = json.loads(lerobot_policy.lerobot_files(exports["rgb+proprio"][0])[lerobot_policy.CONFIG])[
        "input_features"
    ]
    assert inputs["observation.images.base_camera"] == {"type": "VISUAL", "shape": [3, 48, 48]}
    assert inputs["observation.state"]["shape"] == [23]


def test_weights_are_what_safetensors_reads(exports):
    safetensors = pytest.importorskip("safetensors.numpy")
    content = lerobot_policy.lerobot_files(exports["rgb+proprio"][0])[lerobot_policy.WEIGHTS]
    own, found = lerobot_weights.read_safetensors(content), safetensors.load(content)
    assert own.keys() == found.keys()
    jax.tree.map(np.testing.assert_array_equal, own, found)


def test_it_is_a_part_of_the_export(exports, tmp_path):
    student, _ = exports["ee"]
    written = files.export_student(student, tmp_path / "out", lerobot=True).files
    here = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert here == set(written) | {files.MANIFEST}
    for name, digest in written.items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    policy = {Path(name).suffix for name in written if name.startswith(lerobot_policy.POLICY)}
    assert policy == {".json", ".safetensors", ".md"}  # nothing in it is code
    runner.Student(tmp_path / "out")
    files.export_student(student, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / lerobot_policy.DIRECTORY).exists()  # it would be another student's


def test_what_the_plugin_cannot_be_is_refused(exports, monkeypatch):
    student, _ = exports["ee"]
    network = dataclasses.replace(student.config.network, name="autoregressive")
    monkeypatch.setattr(student.population, "config", dataclasses.replace(student.config, network=network))
    with pytest.raises(ConfigError, match=r"network.name='autoregressive'.*'standard' to become a policy of LeRobot"):
        lerobot_policy.lerobot_files(student)


def test_a_policy_that_acts_otherwise_is_not_written(exports, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    student, build = exports["ee"][0], lerobot_policy.weights_of
    monkeypatch.setattr(
        lerobot_policy, "weights_of", lambda student: build(student) | {"std": 2 * build(student)["std"]}
    )
    with pytest.raises(ValueError, match=r"model.safetensors differs from the student"):
        files.export_student(student, tmp_path / "out", lerobot=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="LEROBOT_PYTHON names no interpreter with LeRobot")
@pytest.mark.parametrize("kind", ["ee", "rgb+proprio"])
def test_lerobot_itself(exports, kind, tmp_path):
    student, export = exports[kind][0], tmp_path / "out"
    files.export_student(student, export, lerobot=True)
    observation = files.random_observation(student, 100)
    frames = lerobot_weights.frames_of(observation)
    np.savez(
        tmp_path / "seen.npz",
        **{lerobot_policy.feature_of(name): frames.get(name, x) for name, x in observation.items()},
    )

    def call(*command):
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([PYTHON, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    call(
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--target=site",
        str(export / lerobot_policy.PLUGIN),
    )
    call(
        str(Path(__file__).with_name("lerobot_check.py")),
        str(export / lerobot_policy.POLICY),
        "seen.npz",
        "actions.npz",
    )
    with np.load(tmp_path / "actions.npz") as found:
        actions = dict(found)
    wanted = np.asarray(student.act(observation))
    if kind == "ee":
        index = actions.pop("rollout_index")
        assert len(index) > 3
        np.testing.assert_allclose(actions.pop("rollout"), wanted[index], atol=1e-5, rtol=0)
        np.testing.assert_allclose(actions.pop("eval"), wanted[:5], atol=1e-5, rtol=0)
    assert set(actions) == {"at_once", "chunk", "loaded", "made", "saved"}
    for action in actions.values():
        np.testing.assert_allclose(action, wanted, atol=1e-5, rtol=0)
