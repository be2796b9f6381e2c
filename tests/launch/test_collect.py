"""The launcher that collects demonstrations, as a person runs it: also killed, and resumed."""

import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from children import ROOT, launch, refusal

from rpd_jax.demonstrations.reading import Demonstrations

COLLECT = ("collect", "--preset=debug", "--num_envs=2")


def collect(*arguments: str) -> str:
    """Runs the launcher and returns what it printed."""
    done = launch(*COLLECT, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def stopped(signal_number: int, output: Path, arguments: list[str]) -> int:
    """Runs the launcher, stops it once a few rounds are there, and returns how many it has saved in the end."""
    program, *options = COLLECT
    command = [sys.executable, "-m", f"launch.{program}", *options, *arguments, f"--output={output}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rounds = output.with_name(output.name + ".partial") / "rounds"
    try:
        deadline = time.monotonic() + 120
        while len(list(rounds.glob("[0-9]*.h5"))) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal_number)
        code = process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert code == (128 + signal_number if signal_number == signal.SIGTERM else -signal_number)
    return len(list(rounds.glob("[0-9]*.h5")))


def test_killed_and_resumed_gives_the_same_data(tmp_path):
    arguments = ["--episodes=160", "--config.teacher.noise=0.7", "--seed=2"]
    output = collect(*arguments, f"--output={tmp_path / 'whole'}")
    succeeded, attempted = map(int, re.search(r"success in (\d+) of (\d+) episodes attempted", output).groups())
    assert 160 <= succeeded < attempted  # the noise makes some of them fail
    assert stopped(signal.SIGKILL, tmp_path / "killed", arguments) < attempted / 2
    refused = refusal(*COLLECT, *arguments, f"--output={tmp_path / 'killed'}")
    assert "killed.partial' exists and is not empty: use --resume" in refused
    collect(*arguments, f"--output={tmp_path / 'killed'}", "--resume")
    with Demonstrations(tmp_path / "whole") as one, Demonstrations(tmp_path / "killed") as other:
        assert len(one) == len(other) == 160 and one.statistics == other.statistics
        for a, b in zip(one, other, strict=True):
            assert a.seed == b.seed and a.action.tobytes() == b.action.tobytes()
            assert a.observation["state"].tobytes() == b.observation["state"].tobytes()


def test_sigterm_finishes_the_round(tmp_path):
    arguments = ["--episodes=400", "--config.teacher.noise=0.2"]
    rounds = stopped(signal.SIGTERM, tmp_path / "demos", arguments)
    partial = tmp_path / "demos.partial" / "rounds"
    assert rounds < 200 and not list(partial.glob(".*"))
    with h5py.File(partial / f"{rounds - 1:06d}.h5") as file:
        assert file.attrs["attempted"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format=hdf"], "did you mean 'hdf5'"),
        (["--hold_steps=-1"], "hold_steps=-1 cannot work: it must be at least 0"),
        (["--config.teacher.name=scripted"], "has no scripted teacher"),
        (["--config.env.name=toy:Reech-v0"], "did you mean 'Reach-v0'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    assert message in refusal(*COLLECT, *arguments, f"--output={tmp_path / 'demos'}")
    assert not list(tmp_path.iterdir())  # so that the corrected command is not refused


@pytest.mark.vulkan
@pytest.mark.slow
def test_maniskill_with_its_camera(tmp_path):
    settings = ["--config.env.name=maniskill:PickCube-v1", "--config.teacher.name=scripted"]
    corruption = ["--config.teacher.noise=0.0", "--config.teacher.probe=false"]
    output = collect(*settings, *corruption, "--episodes=2", f"--output={tmp_path / 'demos'}")
    assert "teacher: success in" in output
    with Demonstrations(tmp_path / "demos") as demonstrations:
        assert demonstrations.info.image_size == 256 and demonstrations.info.contract.rotation_sign == -1
        assert demonstrations.metadata["env_info"]["env_id"] == "PickCube-v1"
        for episode in demonstrations:
            frames = episode.observation["rgb"]
            assert frames.shape == (episode.length + 1, 256, 256, 3)
            assert episode.succeeded and episode.terminated[-1] and episode.length < 50
            assert all(np.any(a != b) for a, b in itertools.pairwise(frames))  # none is there twice
            # the commanded and the true motion of the tool agree in direction while it moves fast
            tool = slice(*demonstrations.info.layout["state"]["tcp_pose"])
            moved = np.diff(episode.observation["state"][:, tool][:, :3], axis=0)
            asked = episode.action[:, :3]
            fast = np.linalg.norm(asked, axis=1) > 0.5
            cosine = np.sum(moved * asked, axis=1)[fast] / np.linalg.norm(moved[fast], axis=1)
            assert np.median(cosine / np.linalg.norm(asked[fast], axis=1)) > 0.8
    # the seed in the file makes ManiSkill begin the same episode
    from rpd_jax.config import EnvConfig
    from rpd_jax.envs.registry import env_seeds, make_env

    env = make_env(EnvConfig(name="maniskill:PickCube-v1"), env_seeds(0, 2), rgb=False, end_on_success=True)
    try:
        first = env.reset()["state"]
    finally:
        env.close()
    with Demonstrations(tmp_path / "demos") as demonstrations:
        for episode, state in zip(demonstrations, first, strict=True):
            np.testing.assert_allclose(episode.observation["state"][0], state, atol=1e-6)


@pytest.mark.vulkan
@pytest.mark.slow
def test_maniskill_replays_the_recorded_states(tmp_path):
    """Its own tool, from the first state and from every one: it comes to the same end as the recording."""
    settings = ["--config.env.name=maniskill:PickCube-v1", "--config.teacher.name=scripted", "--images=false"]
    collect(
        *settings,
        "--config.teacher.noise=0.0",
        "--config.teacher.probe=false",
        f"--output={tmp_path}/a",
        "--episodes=1",
    )
    # The tool writes what a step from each state leads to. How a held cube is gripped is no part of PhysX's states: it
    # may turn a little in the hand where every step begins in a state that was set anew.
    for switch, tolerance in (("--use-first-env-state", 1e-4), ("--use-env-states", 2e-2)):
        command = [sys.executable, "-m", "mani_skill.trajectory.replay_trajectory", switch, "--save-traj", "-o=state"]
        command.append(f"--traj-path={tmp_path}/a/trajectory.h5")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 and "1/1=100.00% demos saved" in done.stdout, done.stdout + done.stderr
        (replayed,) = (tmp_path / "a").glob("trajectory.state.*.h5")
        with h5py.File(replayed) as one, h5py.File(tmp_path / "a" / "trajectory.h5") as other:
            for path, error in (("actors/cube", tolerance), ("articulations/panda", 1e-4)):
                states = [
                    file[f"traj_0/env_states/{path}"][:, :7] for file in (one, other)
                ]  # poses, and not velocities
                np.testing.assert_allclose(*states, atol=error)
        replayed.unlink()
