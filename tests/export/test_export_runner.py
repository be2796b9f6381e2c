"""The runner beside every export: it needs neither jax nor this library, and refuses what does not fit."""

import re
import subprocess
import sys

import numpy as np
import pytest
from exported import OBSERVATIONS

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
import numpy as np, runner
with np.load("observation.npz") as found:
    np.save("action.npy", runner.Student().act(dict(found)))
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
