"""Exported students act as the originals do, over whole episodes, and their files say what they are."""

import dataclasses
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import pytest
from exported import OBSERVATIONS, STEPS

from rpd_jax.config import ConfigError, EnvConfig
from rpd_jax.envs.registry import make_env, task_info
from rpd_jax.envs.tabletop.hand import CONTRACT
from rpd_jax.export import fields, files, manifest, onnx_graph, runner, stablehlo
from rpd_jax.export.parameters import scales
from rpd_jax.policies import normalization
from rpd_jax.training.student import env_spec, load_student

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_whole_episodes_are_the_same(exports, kind):
    student, directory = exports[kind]
    onnx_student = runner.Student(directory)
    hlo_student = stablehlo.load_stablehlo((directory / files.STABLEHLO).read_bytes())
    env = make_env(student.config.env, [0, 1, 2], rgb="rgb" in kind, end_on_success=False)
    observation, moved = env.reset(), []
    for step in range(STEPS):
        seen = {key: np.array(observation[key]) for key in student.observation}
        action = np.asarray(student.act(observation))
        assert action.shape == (3, 7) and action.dtype == np.float32
        np.testing.assert_allclose(onnx_student.act(seen), action, atol=1e-5, rtol=0)
        np.testing.assert_allclose(hlo_student(seen), action, atol=1e-5, rtol=0)
        alone = onnx_student.act({key: x[1] for key, x in seen.items()})
        np.testing.assert_allclose(alone, action[1], atol=1e-5, rtol=0)
        moved.append(action)
        result = env.step(action)
        assert np.all(result.truncated) == (step == STEPS - 1)
        observation = result.observation
    env.close()
    assert np.std(moved, axis=(0, 1)).max() > 1e-3  # far more than what the comparison allows
    assert np.mean(np.abs(moved) < 1.0) > 0.5  # nor is it all at the edge of the box


def test_it_is_the_member_that_was_asked_for(runs, exports):
    student, _ = exports["state"]
    assert (student.variant, student.seed, student.iteration, student.env_steps) == ("far", 1, 2, 24)
    population, far = student.population, student.member
    observation = files.random_observation(student, 4)
    everyone = (
        load_student(runs["state"], "ppo", 1).act(observation),
        load_student(runs["state"], "far", 0).act(observation),
    )
    own = np.asarray(population.apply(far, observation)[0].mean)
    np.testing.assert_allclose(student.act(observation), np.clip(own, -1, 1), atol=1e-6)
    assert all(np.abs(np.asarray(other) - own).max() > 1e-4 for other in everyone)


def test_actions_end_at_the_box_of_each_dimension(exports):
    student, _ = exports["state"]
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 300.0 * x if "actor_out" in str(path) else x, student.member.params
    )
    low, high = (-1.0, -0.5, -0.25, -1.0, -1.0, -1.0, 0.0), (1.0, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0)
    spec = dataclasses.replace(student.spec, action_low=low, action_high=high)
    wide = dataclasses.replace(student, spec=spec, member=student.member._replace(params=params))
    observation = files.random_observation(wide, 64)
    session = onnxruntime.InferenceSession(onnx_graph.export_onnx(wide).SerializeToString())
    (action,) = session.run(None, observation)
    np.testing.assert_allclose(action, wide.act(observation), atol=1e-4)
    np.testing.assert_allclose(action.min(axis=0), low)
    np.testing.assert_allclose(action.max(axis=0), high)


def test_normalisation_by_hand():
    # 4 observations whose squared differences add up to 36: a variance of 9; the second entry never varied: the floor
    moments = normalization.Moments(
        np.float32(4.0), np.array([2.0, 5.0], np.float32), np.array([36.0, 0.0], np.float32)
    )
    (scale,) = scales({"state": moments}).values()
    assert scale.mean == (2.0, 5.0) and scale.std == pytest.approx((3.0, 1e-4)) and scale.clip == 10.0


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_the_manifest_says_what_is_what(exports, kind, tmp_path):
    student, directory = exports[kind]
    written = manifest.read_manifest(directory / files.MANIFEST)
    manifest.write_manifest(tmp_path / "again.json", written)
    assert (tmp_path / "again.json").read_text() == (directory / files.MANIFEST).read_text()
    assert written == manifest.make_manifest(student, written.files)
    assert (written.variant, written.seed, written.iteration) == ("far", 1, 2)
    for name, digest in written.files.items():
        assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == digest
    assert set(written.files) | {files.MANIFEST} == {path.name for path in directory.iterdir()}
    if kind == "state":
        (entry,) = written.observation.values()
        assert entry.shape == (6,) and entry.layout["goal_pos"] == fields.Slice(3, 6, "m")
        assert len(entry.normalization.std) == 6 and written.env == "toy:Reach-v0" and written.control_hz is None
    else:
        assert written.observation["rgb"] == manifest.Entry((48, 48, 3), "uint8", {}, None)
        proprio = written.observation["proprio"]
        assert proprio.layout["qpos"] == fields.Slice(0, 8, "3 m, 3 rad, 2 m", "joints")
        assert proprio.layout["tcp_pose"] == fields.Slice(16, 23, "m (x, y, z), quaternion (w, x, y, z)", "world")
        assert written.axes["world"] == "origin in the table's top, z up" and len(proprio.low) == 23
        assert written.guards == manifest.Guards("hold", pytest.approx(0.15))  # three periods
        assert proprio.normalization.clip == 10.0 and written.action.contract == CONTRACT
        assert written.env == "tabletop:PickCube-v1" and written.control_hz == pytest.approx(20.0)


@pytest.mark.parametrize("observation", ["state", "ee"])
def test_units_of_the_tabletop_tasks_are_known(observation):
    for task in ("PickCube-v1", "RollBall-v1", "PegInsertionSide-v1", "StackCube-v1"):
        config = EnvConfig(name=f"tabletop:{task}", observation=observation)
        layout, own = env_spec(config).layout[observation], task_info(config).units
        assert all(fields.unit_of(name, stop - start, own) for name, (start, stop) in layout.items()), layout
    assert fields.unit_of("qpos", 9, own) is None and fields.unit_of("x", 1, {}) is None


def test_what_is_no_manifest_is_refused(tmp_path):
    path = tmp_path / "student.json"
    for text, message in (
        ("{", "student.json is damaged"),
        ("{}", "format=None"),
        ('{"format": 2}', "files must be SHA-256"),
        ('{"format": 2, "files": {}}', "'observation'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            manifest.read_manifest(path)


def test_an_export_is_not_overwritten_unless_asked(exports, tmp_path):
    student, _ = exports["state"]
    output = tmp_path / "out"
    files.export_student(student, output, text=True)
    assert "stablehlo.dot_general" in (output / files.TEXT).read_text()
    with pytest.raises(ConfigError, match="use overwrite=True or another path"):
        files.export_student(student, output)
    files.export_student(student, output, overwrite=True)
    assert not (output / files.TEXT).exists()  # of the earlier export
    (output / files.MANIFEST).unlink()
    (output / "notes.txt").write_text("somebody's")  # without it, it would be an interrupted export
    with pytest.raises(ConfigError, match=r"not an export \(it has no student.json, and holds 'notes.txt'\)"):
        files.export_student(student, output, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        files.export_student(student, tmp_path / "file", overwrite=True)


def test_what_does_not_act_alike_is_not_written(exports, tmp_path, monkeypatch):
    student, _ = exports["rgb+proprio"]
    build = onnx_graph.export_onnx
    params = jax.tree.map(lambda x: 1.5 * x, student.member.params)
    other = dataclasses.replace(student, member=student.member._replace(params=params))
    monkeypatch.setattr(onnx_graph, "export_onnx", lambda _: build(other))
    with pytest.raises(ValueError, match=r"student.onnx differs from the student"):
        files.export_student(student, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_is_not_known_is_refused(exports):
    student, _ = exports["state"]
    member = student.member._replace(params=student.member.params | {"memory": np.zeros(3)})
    with pytest.raises(ValueError, match=r"\['memory'\] have no place"):
        onnx_graph.export_onnx(dataclasses.replace(student, member=member))


def test_wrong_names_are_told_what_there_is(runs, tmp_path):
    run = runs["state"]
    for arguments, message in (
        (("fra", 1), "variant='fra' is unknown: choose from ppo, far; did you mean 'far'"),
        (("far", 7), "seed='7' is unknown: choose from 0, 1"),
        (("", 0), "variant is missing: choose from ppo, far"),
        (("far", None), "seed is missing: choose from 0, 1"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            load_student(run, *arguments)


def test_the_launcher(runs, tmp_path):
    def launch(*arguments):
        command = [sys.executable, "-m", "launch.export", f"--run={runs['state']}", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    done = launch("--variant=ppo", "--seed=1", "--lerobot", f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "ppo/1 of toy:Reach-v0" in done.stdout and "student.onnx" in done.stdout
    assert "lerobot/policy/model.safetensors" in done.stdout
    digest = re.search(r"SHA-256 of student.json, .*: ([0-9a-f]{64})\n", done.stdout)[1]
    assert runner.Student(tmp_path / "out", sha256=digest).manifest["seed"] == 1
    assert manifest.read_manifest(tmp_path / "out" / "student.json").variant == "ppo"
    refused = launch("--variant=rpd-mse")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "error: variant='rpd-mse' is unknown: choose from ppo, far" in refused.stderr
    assert "use --overwrite or another path" in launch(f"--output={tmp_path / 'out'}").stderr
