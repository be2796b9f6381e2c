"""Training on ManiSkill end to end, tiny: state and vision students, a killed simulator, resuming, a video."""

import json
import os
import signal

import numpy as np
import pytest

import rpd_jax
from rpd_jax.config import Config
from teachers.settings import teacher_factory

pytestmark = pytest.mark.vulkan


def tiny(directory, **env) -> Config:
    config = rpd_jax.get_preset("maniskill-quickstart")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0,)
    config.env.num_envs, config.env.processes, config.env.max_episode_steps = 2, 2, 30  # the probe needs 24 steps
    config.algorithm.rollout_length, config.algorithm.total_steps, config.algorithm.minibatches = 4, 24, 2
    config.network.hidden = (8,)
    config.eval.every, config.eval.episodes, config.eval.num_envs, config.eval.videos = 0, 2, 1, 0
    config.run.directory, config.run.tensorboard, config.run.checkpoint_every = str(directory), False, 1
    for field, value in env.items():
        setattr(config.env, field, value)
    return config.validate()


@pytest.mark.slow
def test_a_run_survives_a_killed_simulator_and_resumes(tmp_path):
    config = tiny(tmp_path / "run")
    killed = []

    def kill_one(snapshot):
        if snapshot.iteration == 1:
            worker = children()[-1]  # of the training environments, which are made last
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)

    result = rpd_jax.train(config, teacher_factory(config.teacher), callbacks=[kill_one])
    assert killed
    assert [row["env/worker_restarts"] for row in result.history] == [0, 1, 1]
    assert [row.variant for row in result.table] == ["teacher:scripted:PickCube-v1", "ppo", "rpd-mse"]
    assert children() == []  # nothing is left running

    # two more iterations: environments go on with the next seeds of their sequences
    config.algorithm.total_steps = 40
    seen = []
    again = rpd_jax.train(
        config, teacher_factory(config.teacher), resume=True, callbacks=[lambda s: seen.append(s.iteration)]
    )
    assert seen == [4, 5]
    assert len(again.history) == 5
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [8, 16, 24, 32, 40]


@pytest.mark.slow
def test_a_vision_student_and_its_video(tmp_path):
    config = tiny(tmp_path / "run", observation="rgb+proprio", image_size=64)
    config.algorithm.total_steps, config.eval.videos = 8, 1
    result = rpd_jax.train(config, teacher_factory(config.teacher))
    assert "encoder" in result.params and np.isfinite(result.history[0]["update/loss/rpd-mse/0"])
    assert (result.directory / "episodes.mp4").stat().st_size > 1000


def children() -> list[int]:
    """Simulator processes of this test, oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat") as stat, open(f"/proc/{entry}/cmdline") as command:
                fields, line = stat.read().rsplit(")", 1)[1].split(), command.read()
        except (OSError, NotADirectoryError):
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and "envs.maniskill.worker" in line:
            found.append(int(entry))
    return sorted(found)
