"""The launcher of fine-tuning as a person runs it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from children import ROOT, launch, refusal

from rpd_jax.demonstrations.episode import Episode
from rpd_jax.demonstrations.hdf5 import write_episode
from teachers.octo.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Four short episodes in ManiSkill's layout."""
    path = tmp_path_factory.mktemp("data") / "trajectory.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in range(4):
            episode = Episode(
                observation={"rgb": rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)},
                action=rng.normal(size=(5, 7)).astype(np.float32),
                reward=np.zeros(5, np.float32),
                terminated=np.zeros(5, bool),
                truncated=np.zeros(5, bool),
                success=np.ones(5, bool),
                seed=number,
                instruction="",
                env_name="",
            )
            write_episode(file, f"traj_{number}", episode)
    episodes = [{"episode_id": number, "control_mode": "pd_ee_delta_pose"} for number in range(4)]
    path.with_suffix(".json").write_text(json.dumps({"env_info": {"env_id": "PickCube-v1"}, "episodes": episodes}))
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output is missing"),
        (["--output=x"], "--data is missing"),
        (["--output=x", "--data=nowhere", "--init=nano"], "--data='nowhere' cannot be read: nowhere.json is missing"),
        (["--output=x", "--data=DATA"], "give one of --checkpoint, --init and --model_config"),
        (["--output=x", "--data=DATA", "--init=nani"], "did you mean 'nano'"),
        (["--output=x", "--data=DATA", "--model_config=nowhere"], "--model_config='nowhere' cannot be read"),
        (["--config.data.batchsize=3"], "did you mean 'batch_size'"),
        (["--config.mode=head"], "mode='head' is unknown: choose from full, head_only"),
        (["--config.steps=100"], "optimizer.warmup_steps=2000 cannot work: it must be below the end of the decay"),
        (["--config.accumulation=3"], "data.batch_size=256 cannot work: it must be a multiple of accumulation=3"),
    ],
)
def test_mistakes_are_one_line(data, arguments, message):
    assert message in refusal("finetune_octo", *(argument.replace("DATA", str(data)) for argument in arguments))
    assert not (ROOT / "x").exists()


@pytest.mark.slow
def test_a_new_model_from_the_command_line(data, tmp_path):
    arguments = [
        "--init=nano",
        f"--data={data}",
        f"--output={tmp_path / 'run'}",
        "--config.steps=2",
        "--config.data.batch_size=4",
        "--config.optimizer.warmup_steps=1",
        "--config.validate_every=0",
    ]
    done = launch("finetune_octo", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'run'}: 2 steps  train/loss " in done.stdout
    found = read_checkpoint(tmp_path / "run")
    assert found.step == 2
    assert found.statistics["num_trajectories"] == 4
    assert found.statistics["action"]["mask"].tolist() == [True] * 6 + [False]
    again = launch("finetune_octo", *arguments)
    assert again.returncode == 2 and "use --resume, --overwrite or another path" in again.stderr
    more = launch("finetune_octo", *arguments, "--config.steps=3", "--resume")
    assert more.returncode == 0, more.stderr
    assert read_checkpoint(tmp_path / "run").step == 3
