"""Training end to end on a toy: learning, resuming bit for bit, stopping on signals, refusing taken directories."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.algorithms.variants import resolved
from rpd_jax.config import Config, ConfigError
from rpd_jax.report.results import read_results
from rpd_jax.runs.checkpoint import CheckpointError
from teachers.settings import teacher_factory

ROOT = Path(__file__).parents[1]


def debug_config(directory, **ppo) -> Config:
    config = rpd_jax.get_preset("debug")
    config.run.directory = str(directory)
    config.run.tensorboard = False
    for field, value in ppo.items():
        setattr(config.algorithm, field, value)
    return config


def train(config, **kwargs):
    return rpd_jax.train(config, teacher_factory(config.teacher), **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the debug preset: its result and its snapshots."""
    snapshots = []
    config = debug_config(tmp_path_factory.mktemp("run") / "finished")
    return train(config, callbacks=[snapshots.append]), snapshots, config


def test_a_run_leaves_everything_behind(finished):
    result, snapshots, config = finished
    assert not result.interrupted
    assert [s.iteration for s in snapshots] == [1, 2, 3, 4]
    assert [row.variant for row in result.table] == ["teacher:toy:Reach-v0", "ppo", "rpd-mse"]
    # 4 iterations x 20 steps x 8 environments, labelled once each for the two guided members
    assert [row.teacher_calls for row in result.table] == [0, 0, 2 * 640]
    assert read_results(result.directory / "results.json").rows == tuple(result.table)
    for name in ("config.json", "metrics.jsonl", "table.md", "curves.png"):
        assert (result.directory / name).stat().st_size > 0
    lines = [json.loads(line) for line in (result.directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [160, 320, 480, 640]
    assert lines[-1]["teacher/labels"] == 1280 and lines[-1]["teacher/calls"] == 8
    assert "eval/success_once/rpd-mse/1" in lines[1]
    assert Config.from_dict(json.loads((result.directory / "config.json").read_text())) == resolved(config)
    points = json.loads((result.directory / "curves.json").read_text())
    assert [point["env_steps"] for point in points[::4]] == [0, 320, 640]  # of four members each
    began = [{**point, "variant": ""} for point in points[:4]]
    assert began[:2] == began[2:]  # variants of a seed begin as the same student


def test_resume_is_bit_for_bit(finished, tmp_path):
    whole, _, _ = finished
    config = debug_config(tmp_path / "run")

    class StopHere(Exception):
        pass

    def stop(snapshot):
        if snapshot.iteration == 3:  # the last checkpoint is of iteration 2
            raise StopHere

    with pytest.raises(StopHere):
        train(config, callbacks=[stop])
    resumed = train(config, resume=True)
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)
    strip = [{k: v for k, v in row.items() if "/seconds" not in k and "time/" not in k} for row in whole.history]
    again = [{k: v for k, v in row.items() if "/seconds" not in k and "time/" not in k} for row in resumed.history]
    assert strip == again
    assert [row.success_once for row in whole.table] == [row.success_once for row in resumed.table]
    lines = (resumed.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [160, 320, 480, 640]


def test_a_taken_directory_is_refused_and_kept(finished):
    result, _, config = finished
    before = (result.directory / "results.json").read_bytes()
    with pytest.raises(ConfigError, match="use resume=True, overwrite=True or another path"):
        train(config)
    with pytest.raises(ConfigError, match="contradict"):
        train(config, resume=True, overwrite=True)
    other = debug_config(config.run.directory, learning_rate=1e-2)
    with pytest.raises(ConfigError, match=r"algorithm\.learning_rate=0\.01 .* has 0\.0003"):
        train(other, resume=True)
    assert (result.directory / "results.json").read_bytes() == before


def test_overwrite_never_deletes_what_is_not_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not a run"):
        train(debug_config(tmp_path), overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_finished_run_resumes_to_the_same_table(finished):
    result, _, config = finished
    again = train(config, resume=True)
    assert [row.success_once for row in again.table] == [row.success_once for row in result.table]


def test_guided_variants_need_a_teacher(tmp_path):
    with pytest.raises(ConfigError, match="rpd-mse"):
        rpd_jax.train(debug_config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_mistakes_are_found_before_anything_is_written(tmp_path):
    config = debug_config(tmp_path / "run", minibatches=10_000)
    with pytest.raises(ConfigError, match=r"algorithm\.minibatches"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_rpd_mse_passes_its_teacher_and_ppo(tmp_path):
    """A teacher that rests 0.04 m beside the goal: the student starts from it, reward does the rest, and
    PPO alone is not as far after as many steps."""
    config = debug_config(tmp_path / "run", total_steps=10 * 640, rollout_length=20, minibatches=4, epochs=4)
    config.env.num_envs = 32
    config.algorithm.learning_rate = 3e-3
    config.algorithm.target_kl = None
    config.network.hidden = (64, 64)
    config.teacher.bias, config.teacher.noise = (0.04, 0.0, 0.0), 0.1
    config.variants = ("ppo", "rpd-mse:anneal=linear:anneal_end=0")
    config.eval.every, config.eval.episodes, config.run.checkpoint_every = 0, 64, 0
    teacher, ppo, student = train(config).table
    print(teacher, ppo, student)
    assert student.success_at_end > teacher.success_at_end + 0.1, (teacher, student)
    assert student.episode_return > ppo.episode_return, (ppo, student)


LAUNCH = [sys.executable, "-m", "launch.train", "--preset=debug"]


def launch(directory, *arguments, **kwargs):
    command = [*LAUNCH, f"--config.run.directory={directory}", "--config.run.tensorboard=false", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signals_save_and_exit_cleanly_and_the_run_goes_on(tmp_path, number):
    directory = tmp_path / "run"
    steps = "--config.algorithm.total_steps=1000000"
    process = launch(directory, steps)
    deadline = time.monotonic() + 120
    while not (directory / "metrics.jsonl").exists() or not (directory / "metrics.jsonl").read_text():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.1)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert "--resume goes on from there: python -m launch.train --preset=debug" in output
    done = len((directory / "metrics.jsonl").read_text().splitlines())
    saved = max(int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit())
    assert saved == done  # everything that was written is also saved
    result = launch(directory, "--resume", f"--config.algorithm.total_steps={(done + 1) * 160}")
    output, _ = result.communicate(timeout=120)
    assert result.returncode == 0, output
    assert len((directory / "metrics.jsonl").read_text().splitlines()) == done + 1


def test_resuming_a_directory_without_a_checkpoint_starts_anew(tmp_path):
    config = debug_config(tmp_path / "run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    assert len(train(config, resume=True).history) == 4


def test_a_checkpoint_of_another_shape_is_named(finished, tmp_path):
    result, _, _ = finished
    from rpd_jax.runs.checkpoint import from_paths, load_checkpoint

    _, stored = load_checkpoint(result.directory)
    template = jax.tree.map(lambda x: np.zeros((*x.shape, 2)), result.params)
    with pytest.raises(CheckpointError, match="has shape"):
        from_paths(stored.params, {"params": template}, "params")
