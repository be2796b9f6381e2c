"""The runner beside every export: it needs neither jax nor this library, and refuses what does not fit."""

import hashlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from exported import OBSERVATIONS

from rpd_jax.actions import rotations
from rpd_jax.envs import ee
from rpd_jax.envs.base import slices
from rpd_jax.export import files, runner

# What must not be imported where a student is deployed, and the first thing that the process does.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "jaxlib", "flax", "rpd_jax", "teachers", "launch", "onnx"}:
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocker())
"""


def test_far_observations_are_clipped_as_in_training(exports):
    student, directory = exports["state"]
    observation = {"state": 1e4 * np.ones((2, 6), np.float32) * np.array([[1.0], [-1.0]], np.float32)}
    action = runner.Student(directory).act(observation)
    np.testing.assert_allclose(action, student.act(observation), atol=1e-5)
    assert np.abs(action[0] - action[1]).max() > 1e-3


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_the_runner_stands_alone(exports, kind, tmp_path):
    student, directory = exports[kind]
    observation = files.random_observation(student, 5)
    np.savez(tmp_path / "observation.npz", **observation)
    program = f"""{BLOCKER}
sys.path.insert(0, {str(directory)!r})
import numpy as np, runner, safe_student
with np.load("observation.npz") as found:
    np.save("action.npy", runner.Student().act(dict(found)))
safe_student.SafeStudent(runner.Student(), max_age_s=1.0).command()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "action.npy"), student.act(observation), atol=1e-5)


def test_the_runner_measures_itself(exports, tmp_path):
    _, directory = exports["state"]
    path = str(directory / "runner.py")
    program = (
        f"{BLOCKER}\nimport runpy\nsys.argv = ['runner.py', '--measure']\nrunpy.run_path({path!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert re.fullmatch(r"[1-9]\d* steps per second; control at an unknown rate\n", done.stdout), done.stderr


def test_the_runner_refuses_what_does_not_fit(exports):
    _, directory = exports["rgb+proprio"]
    student = runner.Student(directory)
    good = {"rgb": np.zeros((48, 48, 3), np.uint8), "proprio": np.zeros(23)}  # double numbers are narrowed
    assert student.act(good).shape == (7,)
    for wrong, message in (
        ({"rgb": good["rgb"]}, "lacks 'proprio'"),
        (good | {"rgb": np.zeros((48, 48, 3))}, "rgb is float64: it must be uint8"),
        (good | {"proprio": np.zeros(22)}, r"proprio has shape \(22,\): it must be \(23,\)"),
        (good | {"proprio": np.zeros((1, 23))}, "some entries have a batch axis"),
    ):
        with pytest.raises(ValueError, match=message):
            student.act(wrong)


@pytest.fixture
def copied(exports, tmp_path):
    """An export that a test may damage."""
    _, directory = exports["state"]
    return shutil.copytree(directory, tmp_path / "export")


def test_other_files_than_those_exported_are_not_loaded(copied):
    digest = hashlib.sha256((copied / files.MANIFEST).read_bytes()).hexdigest()
    assert runner.Student(copied, sha256=digest).manifest["seed"] == 1
    (copied / files.STABLEHLO).unlink()  # not needed here
    runner.Student(copied)
    for name in (files.RUNNER, files.ONNX):
        content = (copied / name).read_bytes()
        (copied / name).write_bytes(content[:-1] + b"#")
        with pytest.raises(ValueError, match=f"{name} is not the file that was exported"):
            runner.Student(copied)
        (copied / name).write_bytes(content)
    manifest = json.loads((copied / files.MANIFEST).read_text())
    (copied / files.MANIFEST).write_text(json.dumps(manifest))
    runner.Student(copied)
    with pytest.raises(ValueError, match=r"student\.json is not the file whose SHA-256 is"):
        runner.Student(copied, sha256=digest)
    (copied / files.MANIFEST).write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(ValueError, match=r"student\.json has format 1: this runner reads 2"):
        runner.Student(copied)
    (copied / files.MANIFEST).write_text(json.dumps(manifest))
    (copied / files.ONNX).unlink()
    with pytest.raises(FileNotFoundError):
        runner.Student(copied)


def test_the_runner_describes_every_field(exports):
    text = runner.describe(runner.Student(exports["ee"][1]).manifest)
    assert text.startswith("tabletop:PickCube-v1: pick up the cube (far, seed 1)\n")
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert ["width", "9:10", "m", "-"] in [row[:4] for row in rows]
    assert ["translation", "0:3", "0.1 m", "base", "delta, at most 4.33 a second"] in rows
    assert ["world: origin in the table's top, z up"] in rows
    assert text.endswith("control at 20 Hz\nfallback hold, observations at most 0.15 s old")


def test_the_end_effector_observation_is_that_of_training():
    objects, goals = ("cubeA_pose", "cubeB_pose"), ("goal_pos",)
    rng = np.random.default_rng(0)

    def pose():
        return np.concatenate([rng.normal(size=3), rotations.quaternion_from_rotvec(rng.normal(size=3))])

    entries = {"tcp_pose": pose(), "cubeA_pose": pose(), "cubeB_pose": pose(), "goal_pos": rng.normal(size=3)}
    layout = {
        name: dict(zip(("start", "stop"), span, strict=True)) for name, span in slices(ee.sizes(objects, goals)).items()
    }
    wanted = ee.observe({k: np.float32(x) for k, x in entries.items()}, np.float32(0.05), objects, goals)
    poses = {name: entries[name] for name in objects}
    found = runner.end_effector(layout, entries["tcp_pose"], 0.05, poses, {"goal_pos": entries["goal_pos"]})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="the student sees"):
        runner.end_effector(layout, entries["tcp_pose"], 0.05, poses, {})
