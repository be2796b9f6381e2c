"""The launcher of fine-tuning as a person runs it, from a recording to a teacher."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from arm_spec import arm_spec
from children import ROOT, launch, refusal
from recorded import recorded

from rpd_jax.demonstrations.episode import DatasetInfo
from rpd_jax.demonstrations.hdf5 import merge_shards, write_shard
from rpd_jax.envs.base import ArraySpec
from teachers.base import load
from teachers.conventions import CONTRACTS, contract_of

pytest.importorskip("peft", reason="fine-tuning needs peft: pip install -r teachers/openvla/requirements.txt")

PROGRAM = "finetune_openvla"
CONTRACT = dataclasses.replace(CONTRACTS["maniskill"], rotation_sign=1)  # one that has no name
ENV = arm_spec(
    name="tabletop:PushCube-v1",
    instruction="push the cube",
    max_episode_steps=50,
    observation={"state": ArraySpec((3,), "float32"), "rgb": ArraySpec((64, 64, 3), "uint8")},
    layout={"state": {}},
    contract=CONTRACT,
    frame_shape=(64, 64, 3),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Three episodes, as `launch.collect` leaves them."""
    place = tmp_path_factory.mktemp("data")
    episodes = [recorded(number, 4) for number in range(3)]
    write_shard(place / "0.h5", episodes, 3, 3)
    info = DatasetInfo(
        env_name="tabletop:PushCube-v1",
        env_settings={"control_mode": "pd_ee_delta_pose"},
        instruction="push the cube",
        max_episode_steps=50,
        contract=CONTRACT,
        layout={},
        image_size=64,
        teacher="made",
        teacher_settings={},
        is_scripted=True,
        seed=0,
        num_envs=1,
        perturb=0.0,
        hold_steps=0,
        successful_only=True,
    )
    merge_shards([place / "0.h5"], place / "trajectory.h5", 3, info, {"attempted": 3, "succeeded": 3})
    return place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint=BASE", "--data=DATA"], "--output is missing"),
        (["--checkpoint=BASE", "--output=x"], "--data is missing"),
        (["--checkpoint=nowhere", "--data=DATA", "--output=x"], "--checkpoint='nowhere' cannot be used"),
        (["--checkpoint=BASE", "--data=nowhere", "--output=x"], "--data='nowhere' cannot be read: nowhere.json is"),
        (["--checkpoint=BASE", "--data=DATA", "--output=DATA"], "exists and is not empty: use --resume, --overwrite"),
        (["--python=snake", "--checkpoint=BASE", "--data=DATA", "--output=x"], "--python='snake' cannot work"),
        (["--config.lora.ranks=3"], "did you mean 'rank'"),
    ],
)
def test_mistakes_are_one_line(data: Path, checkpoint: Path, arguments: list[str], message: str) -> None:
    known = {"BASE": str(checkpoint), "DATA": str(data)}
    done = refusal(PROGRAM, *("=".join(known.get(part, part) for part in each.split("=")) for each in arguments))
    assert message in done
    assert not (ROOT / "x").exists()


def arguments_for(checkpoint: Path, data: Path, out: Path) -> list[str]:
    return [
        *(f"--checkpoint={checkpoint}", f"--data={data}", f"--output={out}"),
        *("--config.steps=2", "--config.data.batch_size=4", "--config.data.validation_batches=1"),
        *("--config.dtype=f32", "--config.device=cpu", "--config.lora.rank=4", "--config.optimizer.learning_rate=0.01"),
    ]


@pytest.fixture(scope="module")
def tuned(data: Path, checkpoint: Path, tmp_path_factory) -> Path:
    """A directory that the launcher has left."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = launch(PROGRAM, *arguments_for(checkpoint, data, out))
    assert done.returncode == 0, done.stderr
    assert f"{out}: 2 steps  train/loss " in done.stdout
    assert f"--config.teacher.path={out}\n" in done.stdout
    return out


def test_from_a_recording_to_a_model(tuned: Path, data: Path, checkpoint: Path) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    again = launch(PROGRAM, *arguments_for(checkpoint, data, tuned))
    assert again.returncode == 2 and "use --resume, --overwrite or another path" in again.stderr
    frames = recorded(7).observation["rgb"]
    options = {"dtype": "f32", "device": "cpu", "center_crop": True}
    after = OpenVLAPolicy.load(tuned, **options)
    before = OpenVLAPolicy.load(checkpoint, statistics_key="bridge_orig", **options)
    tokens = [each.label(frames, ENV.instruction)["tokens"] for each in (before, after)]
    assert (tokens[0] != tokens[1]).any()
    assert after.bounds.dims == 7 and after.bounds.mask.tolist() == [True] * 6 + [False]
    assert contract_of(tuned, "") == CONTRACT


@pytest.mark.slow
def test_resumed_and_served(tuned: Path, data: Path, checkpoint: Path, tmp_path: Path) -> None:
    from teachers.openvla.server.policy import OpenVLAPolicy

    out = tmp_path / "run"
    shutil.copytree(tuned, out)
    more = launch(PROGRAM, *arguments_for(checkpoint, data, out), "--config.steps=3", "--resume")
    assert more.returncode == 0, more.stderr
    assert f"{out}: 3 steps" in more.stdout
    assert json.loads((out / "finetune_config.json").read_text())["steps"] == 3

    frames = recorded(7).observation["rgb"]
    options = {"dtype": "f32", "center_crop": True}
    teacher = load("openvla", ENV, path=str(out), devices=("cpu",), **options)
    try:
        labels = teacher.label({"rgb": frames}, ENV.instruction, jax.random.key(0))
        assert teacher.spec.contract == CONTRACT
    finally:
        teacher.close()
    direct = OpenVLAPolicy.load(out, device="cpu", **options).label(frames, ENV.instruction)
    np.testing.assert_allclose(labels.action, direct["action"], atol=1e-5)
