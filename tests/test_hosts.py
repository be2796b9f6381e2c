"""A run of two processes is the run of one: members, metrics, results; and what becomes of it when one of them ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import Config, ConfigError
from rpd_jax.report.results import read_results
from rpd_jax.runs.checkpoint import read_checkpoint, saved_iterations
from rpd_jax.training.hosts import Hosts, _merge, _pack, _unpack
from teachers.settings import teacher_factory

CHILD = Path(__file__).with_name("hosts_child.py")


class Ended(NamedTuple):
    status: int
    text: str


def settings(directory: Path) -> Config:
    config = rpd_jax.get_preset("debug")
    config.run.directory, config.run.tensorboard = str(directory), False
    return config


def two_processes(directory: Path, *arguments: str) -> list[Ended]:
    """Runs both to their end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = [
        *("--config.run.distributed", "--config.run.num_processes=2", "--config.run.heartbeat_timeout_seconds=20"),
        *(f"--config.run.coordinator_address=127.0.0.1:{port}", f"--config.run.directory={directory}"),
        *("--noconfig.run.tensorboard", *arguments),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    children = [
        subprocess.Popen(
            [sys.executable, str(CHILD), *common, f"--config.run.process_id={process}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in (0, 1)
    ]
    try:
        texts = [child.communicate(timeout=240)[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    return [Ended(child.returncode, text) for child, text in zip(children, texts, strict=True)]


def rows(directory: Path) -> list[dict[str, float]]:
    """The log, without what depends on the clock."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{name: x for name, x in json.loads(line).items() if not name.startswith("time/")} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    ours, theirs = read_checkpoint(one), read_checkpoint(other)
    for mine, its in zip(ours[:2], theirs[:2], strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine, its)
    assert rows(one) == rows(other)
    for name in ("curve", "ledgers", "alarms", "iteration"):
        assert ours.host[name] == theirs.host[name]


def table(directory: Path) -> list[tuple]:
    found = read_results(directory / "results.json").rows
    return [(row.variant, row.seeds, row.teacher_calls, row.success_once, row.episode_return) for row in found]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of one process."""
    config = settings(tmp_path_factory.mktemp("hosts") / "alone")
    rpd_jax.train(config, teacher_factory(config.teacher))
    return Path(config.run.directory)


def test_two_processes_train_what_one_does(alone: Path, tmp_path: Path) -> None:
    first, second = two_processes(tmp_path / "run")
    assert (first.status, second.status) == (0, 0), first.text + second.text
    assert_same_run(alone, tmp_path / "run")
    assert table(alone) == table(tmp_path / "run")
    assert "training 4/4" in first.text and "training" not in second.text


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_two_go_on(alone: Path, tmp_path: Path) -> None:
    ended = two_processes(tmp_path / "run", "--grief=SIGTERM")
    assert [each.status for each in ended] == [143, 143], ended
    assert saved_iterations(tmp_path / "run")[-1] == 3
    assert [each.status for each in two_processes(tmp_path / "run")] == [0, 0]
    assert_same_run(alone, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grief", "status", "said"),
    [
        ("SIGKILL", -9, "another process of the run is gone"),
        ("raises", 1, "process 1 of 2 failed: RuntimeError: no more"),
    ],
)
def test_where_one_dies_the_other_ends_and_one_process_goes_on(
    grief: str, status: int, said: str, alone: Path, tmp_path: Path
) -> None:
    first, second = two_processes(tmp_path / "run", f"--grief={grief}")
    assert (first.status, second.status) == (1, status), first.text + second.text
    error = first.text.splitlines()[-1]
    assert error.startswith(f"error: {said}") and "is saved at iteration 2: --resume goes on" in error
    config = settings(tmp_path / "run")
    rpd_jax.train(config, teacher_factory(config.teacher), resume=True)
    assert_same_run(alone, tmp_path / "run")
    assert table(alone) == table(tmp_path / "run")


@pytest.mark.parametrize(("count", "members"), [(1, 3), (2, 4), (3, 7), (4, 4)])
def test_every_member_is_one_processs(count: int, members: int) -> None:
    hosts = [Hosts(index, count) for index in range(count)]
    parts = [np.arange(members)[each.rows(members)] for each in hosts]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(members))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    arrays = {"of environments": np.arange(3 * members).reshape(-1, 1), "of all": np.float32(2.0)}
    own = [each.own(arrays, members) for each in hosts]
    assert [x["of all"] for x in own] == [2.0] * count
    for mine, part in zip(own, parts, strict=True):
        np.testing.assert_array_equal(mine["of environments"][::3, 0], 3 * part)


def test_more_processes_than_members_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.num_processes=4 cannot work: it must be at most 3"):
        Hosts(0, 4).rows(3)


def test_rows_of_metrics_become_one() -> None:
    theirs = [
        {"update/loss/a/0": 1.0, "teacher/labels": 2.0, "time/update": 3.0, "time/env_steps_per_second": 10.0},
        {"update/loss/b/0": 4.0, "teacher/labels": 5.0, "time/update": 2.0, "time/env_steps_per_second": 20.0},
    ]
    assert _merge(theirs) == {
        **{"update/loss/a/0": 1.0, "update/loss/b/0": 4.0, "teacher/labels": 7.0},
        **{"time/update": 3.0, "time/env_steps_per_second": 30.0},
    }


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64", "bfloat16"])
def test_arrays_arrive_as_they_are(dtype: str) -> None:
    for x in (np.ones((2, 3), dtype), np.zeros((0, 2), dtype), np.asarray(1, dtype)):
        packed = _pack(x)
        arrived = _unpack(packed.code, packed.data)
        assert arrived.dtype == x.dtype and arrived.shape == x.shape
        np.testing.assert_array_equal(arrived, x)
    with pytest.raises(TypeError, match="object is no plain data"):
        _pack(object())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_processes": 2}, r"run\.num_processes=2 cannot work: it must be None without run\.distributed=True"),
        ({"distributed": True, "coordinator_address": "node1"}, r"run\.coordinator_address='node1'.*HOST:PORT"),
    ],
)
def test_settings_that_contradict_each_other(given: dict, message: str) -> None:
    config = rpd_jax.get_preset("debug")
    for name, value in given.items():
        setattr(config.run, name, value)
    with pytest.raises(ConfigError, match=message):
        config.validate()


def test_jax_must_not_have_started(tmp_path: Path) -> None:
    """As in a notebook: what to do then is said before anything else."""
    jax.devices()
    config = settings(tmp_path)
    run = config.run
    run.distributed, run.coordinator_address, run.num_processes, run.process_id = True, "127.0.0.1:1", 2, 0
    with pytest.raises(ConfigError, match=r"run\.distributed=True cannot work: .* must be called before"):
        rpd_jax.train(config, teacher_factory(config.teacher))
