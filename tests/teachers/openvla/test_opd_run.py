"""Whole runs of distillation on the tiny OpenVLA: what is written, kill -9 and resuming, two processes, mistakes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from children import ROOT, launch, refusal, run
from pictured import made_adapter, settings

pytest.importorskip("peft", reason="distillation needs peft: pip install -r teachers/openvla/requirements.txt")

from safetensors.torch import load_file

from rpd_jax.config import ConfigError, EnvConfig
from teachers.openvla.opd.settings import KIND
from teachers.serving import Serving, read_serving

HERE = Path(__file__).parent
CHILD = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
"""Variables of children: one thread as here, so that sums have one order."""
FLAGS = [
    *("--import=pictured", "--config.seed=3", "--config.validate_every=0", "--config.env.name=pictured:Leave-v0"),
    *("--config.env.reward=sparse", "--config.groups=2", "--config.group_size=2", "--config.temperature=1.3"),
    *("--config.statistics_key=bridge_orig", "--config.contract=oxe_metric", "--config.dtype=f32"),
    *("--config.device=cpu", "--config.max_batch=3", "--config.micro_batch=3", "--config.lora.rank=4"),
    *("--config.optimizer.learning_rate=2e-3", "--config.evaluation.episodes=2"),
]
"""The same as `settings()`."""


@pytest.fixture(scope="module")
def expert(checkpoint, tmp_path_factory):
    return made_adapter(checkpoint, tmp_path_factory.mktemp("models") / "expert", seed=5)


@pytest.fixture(scope="module")
def straight(checkpoint, expert, tmp_path_factory):
    from teachers.openvla.opd.distill import distill

    return distill(checkpoint, expert, settings(save_every=2), tmp_path_factory.mktemp("runs") / "straight")


def rows(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def timeless(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if "second" not in name and not name.startswith("time")}


def test_what_a_run_writes(straight) -> None:
    found = rows(straight.directory)
    assert [row["step"] for row in found] == [1, 2, 3, 4] and straight.step == 4
    names = {"success", "reverse_kl", "forward_kl", "student_entropy", "teacher_entropy", "clipped_share"}
    names |= {"mixed_groups", *(f"kl_{part}" for part in ("x", "y", "z", "rotation", "gripper")), "tokens_per_second"}
    assert {f"train/{name}" for name in names} <= found[0].keys()
    assert found[0]["train/reverse_kl"] > 0.05 and found[0]["train/loss"] > found[0]["train/reverse_kl"]
    dims = ("x", "y", "z", "gripper")
    share = sum(found[0][f"train/kl_{each}"] for each in dims) + 3 * found[0]["train/kl_rotation"]
    assert share / 7 == pytest.approx(found[0]["train/reverse_kl"], rel=1e-6)
    assert (straight.directory / KIND.file).is_file()
    serving = read_serving(straight.directory)
    assert (serving.steps, serving.planned, serving.statistics_key) == (4, 4, "bridge_orig") and not serving.remarks()
    assert serving.trained_on["environments"] == ["pictured:Leave-v0"] and serving.trained_on["image_sizes"] == [16]
    assert serving.trained_on["instructions"] == ["leave your place"]


def test_what_is_left_is_a_model_nearer_to_its_teacher(straight, expert, checkpoint, frames) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    options = {"dtype": "f32", "device": "cpu"}
    student, teacher = (OpenVLAPolicy.load(each, **options) for each in (straight.directory, expert))
    begun = OpenVLAPolicy.load(checkpoint, statistics_key="bridge_orig", **options)
    tokens = teacher.label(frames, "leave your place")["tokens"][:, 0]
    ours, first, its = (
        each.score(frames, "leave your place", tokens)["action_logits"] for each in (student, begun, teacher)
    )
    assert np.abs(ours - first).max() > 1e-3 and np.abs(ours - its).mean() < np.abs(first - its).mean()


def test_killed_and_resumed_is_the_same_bit_by_bit(straight, checkpoint, expert, tmp_path) -> None:
    """Killed in the third iteration's end, which no checkpoint has; the second's is there."""
    from teachers.openvla.opd.distill import distill

    out = tmp_path / "run"
    program = (
        "import os, signal, torch; from pictured import settings; from teachers.openvla.opd.distill import distill\n"
        "seen = []\n"
        "def die(metrics):\n"
        "    seen.append(metrics)\n"
        "    if len(seen) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"distill({str(checkpoint)!r}, {str(expert)!r}, settings(save_every=2), {str(out)!r}, callbacks=[die])\n"
    )
    done = run("-c", program, **CHILD)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["2.safetensors"]
    again = distill(checkpoint, expert, settings(save_every=2), out, resume=True)
    assert again.step == 4
    for name in ("checkpoints/4.safetensors", "adapter_model.safetensors"):
        one, other = (load_file(directory / name) for directory in (straight.directory, out))
        assert one.keys() == other.keys() and all((one[key] == other[key]).all() for key in one)
    assert [timeless(row) for row in rows(out)] == [timeless(row) for row in rows(straight.directory)]
    with pytest.raises(ConfigError, match="teacher: not what the run to resume was given"):
        distill(checkpoint, checkpoint, settings(save_every=2), out, resume=True)


def test_a_student_acts_and_is_left_as_its_serving_file_says(checkpoint, expert, tmp_path) -> None:
    from teachers.openvla.opd.distill import distill

    student = made_adapter(checkpoint, tmp_path / "student", seed=6)
    Serving(statistics_key="bridge_orig", prompt="v01", center_crop=True).write(student)
    result = distill(student, expert, settings(steps=1, statistics_key="", prompt="openvla"), tmp_path / "run")
    assert result.pair.student._preprocessor.center_crop
    left = read_serving(result.directory)
    assert (left.center_crop, left.prompt, left.statistics_key) == (True, "openvla", "bridge_orig")
    assert left.remarks(checkpoint) == []
    assert json.loads((result.directory / KIND.file).read_text())["center_crop"]


def test_phases_and_evaluation(checkpoint, expert, tmp_path) -> None:
    from teachers.openvla.opd.distill import distill

    phases = ("reverse_kl_clipped:1:2e-3", "grpo:2:1e-3")
    made = settings(steps=2, phases=phases, minibatches=2, group_size=8, validate_every=1, oft="libero-tokens")
    found = distill(checkpoint, expert, made, tmp_path / "run").history
    assert [row["train/learning_rate"] for row in found] == [2e-3, 1e-3]
    assert all(0 <= row["validation/success"] <= 1 for row in found)
    assert found[1]["train/mixed_groups"] > 0 and found[1]["train/gradient_norm"] > 0


def test_two_processes_do_what_one_does(straight, checkpoint, expert, tmp_path) -> None:
    """By the launcher, with gloo: the same trajectories, and gradients averaged to the same up to rounding."""
    out = tmp_path / "run"
    given = [f"--checkpoint={checkpoint}", f"--teacher={expert}", f"--output={out}"]
    done = launch("distill_openvla", *given, *FLAGS, "--config.steps=2", "--processes=2", **CHILD)
    assert done.returncode == 0, done.stderr
    assert f"{out}: 2 iterations  train/success" in done.stdout and done.stdout.count("iterations") == 1
    for one, other in zip(rows(straight.directory), rows(out), strict=False):
        assert timeless(other) == pytest.approx(timeless(one), rel=1e-3)
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["2.safetensors"]


@pytest.mark.slow
def test_two_processes_resume(straight, checkpoint, expert, tmp_path) -> None:
    out = tmp_path / "run"
    given = [f"--checkpoint={checkpoint}", f"--teacher={expert}", f"--output={out}", "--processes=2", *FLAGS]
    for more in (["--config.steps=1"], ["--config.steps=3", "--resume"]):
        done = launch("distill_openvla", *given, *more, **CHILD)
        assert done.returncode == 0, done.stderr
    found = rows(out)
    assert [row["step"] for row in found] == [1, 2, 3]
    for one, other in zip(rows(straight.directory), found, strict=False):
        assert timeless(other) == pytest.approx(timeless(one), rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher=BASE", "--output=x"], "--checkpoint='' cannot work: it must be a directory with config.json"),
        (["--checkpoint=BASE", "--output=x"], "--teacher='' cannot work"),
        (["--checkpoint=BASE", "--teacher=BASE"], "--output is missing"),
        (["--checkpoint=BASE", "--teacher=BASE", "--output=x", "--processes=3"], "groups=64 cannot work"),
        (["--checkpoint=BASE", "--teacher=BASE", "--output=x", "--config.env.name=toy:Fly"], "env.name: task='Fly'"),
    ],
)
def test_mistakes_are_one_line(checkpoint, arguments, message) -> None:
    done = refusal("distill_openvla", *(each.replace("BASE", str(checkpoint)) for each in arguments))
    assert message in done and not (ROOT / "x").exists()


def test_mistakes_of_the_process_are_one_line(checkpoint, tmp_path, capsys) -> None:
    """Which only what has read the models can see."""
    from teachers.openvla.opd.main import main

    given = [f"--checkpoint={checkpoint}", f"--teacher={checkpoint}", f"--output={tmp_path / 'run'}"]
    assert main([*given, f"--settings={json.dumps(settings(statistics_key='').to_dict())}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: statistics_key is missing: name the data set") and said.count("\n") == 1
    assert main([*given, f"--settings={json.dumps(settings(env=EnvConfig(name='toy:Reach-v0')).to_dict())}"]) == 2
    assert "env.name='toy:Reach-v0' cannot work: it has no frames" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
