"""Whatever ends a run, its last whole iteration is saved, and the resumed run ends as an undisturbed one."""

import contextlib
import gc
import logging
import os
import subprocess
import sys
import weakref

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import ConfigError
from rpd_jax.runs.lock import DirectoryLock
from rpd_jax.types import TeacherError, TeacherLabels, TeacherSpec


class Teacher:
    """Gives labels that follow from the observation, and raises `error` in its `last`-th call."""

    spec = TeacherSpec("mine", ("state",), None)

    def __init__(self, last: int = 0, error: BaseException | None = None) -> None:
        self.calls, self.last, self.error = 0, last, error

    def label(self, observation, instruction, key):
        self.calls += 1
        if self.calls == self.last:
            raise self.error
        action = np.tanh(np.asarray(observation["state"])[:, :1]) * np.ones((1, 7), np.float32)
        return TeacherLabels(action, np.ones(len(action), bool), np.ones_like(action))


def settings(directory):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("rpd-mse",), (0,)
    config.run.directory, config.run.tensorboard, config.run.checkpoint_every = str(directory), False, 0
    config.eval.every = 2
    return config


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return rpd_jax.train(settings(tmp_path_factory.mktemp("whole") / "run"), Teacher())


ERRORS = (ValueError("label 0 is\nnone"), SystemExit(3), KeyboardInterrupt())


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_a_teachers_error_is_saved_said_and_resumed(tmp_path, undisturbed, error):
    with pytest.raises(BaseException) as caught:
        rpd_jax.train(settings(tmp_path / "run"), Teacher(3, error))
    if isinstance(error, KeyboardInterrupt):  # that is the user's, wherever it arrives
        assert caught.type is KeyboardInterrupt
    else:
        assert caught.type is TeacherError
        what = {"ValueError": "label 0 is none", "SystemExit": "3"}[type(error).__name__]
        assert str(caught.value) == f"teacher 'mine' failed: {type(error).__name__}: {what}"
    assert caught.value.__notes__ == [f"{tmp_path / 'run'} is saved at iteration 2: resume=True goes on from there"]
    same_end(rpd_jax.train(settings(tmp_path / "run"), Teacher(), resume=True), undisturbed)


@pytest.mark.parametrize("iteration", [1, 3])
def test_a_callbacks_error_is_saved_and_resumed(tmp_path, undisturbed, iteration):
    def fail(snapshot):
        if snapshot.iteration == iteration:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        rpd_jax.train(settings(tmp_path / "run"), Teacher(), callbacks=[fail])
    same_end(rpd_jax.train(settings(tmp_path / "run"), Teacher(), resume=True), undisturbed)


def test_an_evaluation_that_failed_is_made_up_for(tmp_path, undisturbed, monkeypatch):
    from rpd_jax.training.evaluation import Evaluator

    def fail(*args):
        raise RuntimeError("simulators are gone")

    with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="gone"):
        broken.setattr(Evaluator, "students", fail)
        rpd_jax.train(settings(tmp_path / "run"), Teacher())
    same_end(rpd_jax.train(settings(tmp_path / "run"), Teacher(), resume=True), undisturbed)


def test_a_directory_in_use_is_refused_before_anything_starts(tmp_path):
    def never(env):
        raise AssertionError("a teacher was made")

    (tmp_path / "run").mkdir()
    held = contextlib.closing(DirectoryLock(tmp_path / "run", "run.directory", "a run"))
    with held, pytest.raises(ConfigError, match=f"is in use by process {os.getpid()} on host"):
        rpd_jax.train(settings(tmp_path / "run"), never, resume=True)


def test_a_longer_run_says_which_schedules_it_repeats(tmp_path, caplog):
    config = settings(tmp_path / "run")
    config.variants, config.algorithm.total_steps = ("ppo", "ppo:learning_rate_end=0.2:name=falling"), 320
    rpd_jax.train(config)
    with caplog.at_level(logging.WARNING):
        rpd_jax.train(config, resume=True)
        assert "schedules" not in caplog.text
        config.algorithm.total_steps = 640
        rpd_jax.train(config, resume=True)
    assert "was 320 and is 640 now" in caplog.text
    assert "annealing) of falling go on from progress 0.50, where they had reached 1.00" in caplog.text


def test_a_finished_run_leaves_nothing_in_memory(tmp_path):
    result = rpd_jax.train(settings(tmp_path / "run"), Teacher())
    population = weakref.ref(result.population)
    del result
    gc.collect()
    assert population() is None  # nor, then, its compiled programs


def same_end(result, expected) -> None:
    jax.tree.map(np.testing.assert_array_equal, result.params, expected.params)
    curves = [(r.directory / "curves.json").read_text() for r in (result, expected)]
    assert curves[0] == curves[1]

    def lasting(history):
        skipped = ("time/", "eval/", "teacher/seconds")
        return [{k: v for k, v in row.items() if not k.startswith(skipped)} for row in history]

    assert lasting(result.history) == lasting(expected.history)


PROGRAM = """
import sys, rpd_jax
from absl import flags
from rpd_jax.launch import flags as launcher
from test_training_failures import Teacher, settings

def main(argv):
    rpd_jax.train(settings(sys.argv[1]), Teacher(3, SystemExit(7)))

directory = sys.argv[1]
sys.argv[1:] = []
launcher.run(lambda argv: rpd_jax.train(settings(directory), Teacher(3, SystemExit(7))))
"""


def test_a_launcher_says_it_in_one_line(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, cwd="tests", timeout=120, env=None)
    assert found.returncode == 1
    errors = [line for line in found.stderr.splitlines() if line.startswith("error:")]
    assert errors == [
        f"error: teacher 'mine' failed: SystemExit: 7; {tmp_path / 'run'} is saved at iteration 2: "
        "--resume goes on from there"
    ]
    assert "Traceback" not in found.stderr
