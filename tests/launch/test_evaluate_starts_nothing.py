"""Evaluating somebody's run starts, connects to and fetches nothing that its config names, unless asked to."""

import json
import tarfile

import pytest
from children import ROOT, launch

import rpd_jax
from rpd_jax.config import TeacherConfig
from teachers.settings import teacher_factory

GOLDEN = ROOT / "tests" / "golden" / "openvla" / "golden.tar.xz"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds, config.algorithm.total_steps = ("ppo",), (0,), 160
    config.run.directory, config.run.tensorboard = str(tmp_path_factory.mktemp("shared") / "run"), False
    return rpd_jax.train(config, teacher_factory(config.teacher)).directory


def evaluate(run, output, *more):
    return launch("evaluate", f"--run={run}", f"--output={output}", *more)


def test_a_program_in_a_runs_config_is_not_run(run, tmp_path):
    trap, proof, log = tmp_path / "python", tmp_path / "ran", tmp_path / "log"
    trap.write_text(f"#!/bin/sh\ntouch {proof}\nexit 1\n")
    trap.chmod(0o755)
    stored = json.loads((run / "config.json").read_text())
    with tarfile.open(GOLDEN) as files:  # a checkpoint that passes what is looked at before a process is started
        files.extractall(tmp_path / "golden", filter="data")
    model = {"path": str(tmp_path / "golden" / "tiny" / "checkpoint"), "statistics_key": "bridge_orig"}
    stored["teacher"] = {"name": "openvla", **model, "contract": "maniskill", "python": str(trap), "log": str(log)}
    (run / "config.json").write_text(json.dumps(stored))
    quiet = evaluate(run, tmp_path / "quiet")
    assert quiet.returncode == 0, quiet.stderr
    assert f"is left out, since it starts {trap}, whose output goes to {log}: --teacher allows that" in quiet.stderr
    assert not proof.exists() and not log.exists()
    asked = evaluate(run, tmp_path / "asked", "--teacher")
    assert asked.returncode != 0 and proof.exists() and f"starts {trap}" in asked.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "scripted"}, ""),
        ({"name": "octo", "path": "octo-nano"}, ""),
        ({"name": "octo", "path": "hf://somebody/octo"}, "fetches hf://somebody/octo"),
        ({"name": "openvla", "path": "x"}, "starts a process of this interpreter"),
        ({"name": "openvla", "socket": "/run/s"}, "connects to the socket /run/s"),
        ({"name": "remote", "address": "ws://10.0.0.1:8000"}, "connects to ws://10.0.0.1:8000"),
    ],
)
def test_what_a_teacher_would_start_is_said(settings, words):
    assert TeacherConfig(**settings).starts() == words
