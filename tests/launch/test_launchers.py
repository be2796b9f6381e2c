"""The launchers as a person runs them: train, resume, evaluate, and what mistakes get."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from children import launch, refusal

from rpd_jax.config import ConfigError
from rpd_jax.envs.registry import make_env
from rpd_jax.launch.flag_groups import define_resume
from rpd_jax.report.results import read_results
from rpd_jax.runs.checkpoint import load_checkpoint
from teachers.policy.teacher import PolicyTeacher


def output_of(program: str, *arguments: str) -> str:
    """What a launcher that succeeds prints."""
    done = launch(program, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of the debug preset, made by the launcher."""
    directory = tmp_path_factory.mktemp("launch") / "run"
    output = output_of(
        "train",
        "--preset=debug",
        "--config.variants=ppo,rpd-mse:mse=5:name=strong",
        "--config.seeds=3",
        f"--config.run.directory={directory}",
    )
    assert "teacher:toy:Reach-v0" in output and "strong" in output
    return directory


def test_training_writes_what_it_was_told(run):
    results = read_results(run / "results.json")
    assert [row.variant for row in results.rows] == ["teacher:toy:Reach-v0", "ppo", "strong"]
    assert results.config["seeds"] == [3]
    assert list((run / "tensorboard").iterdir())


def test_evaluation_of_a_checkpoint(run, tmp_path):
    output = output_of("evaluate", f"--run={run}", "--episodes=24", f"--output={tmp_path / 'out'}")
    assert "strong" in output
    again = read_results(tmp_path / "out" / "results.json")
    assert again.config["eval"]["episodes"] == 24
    first = read_results(run / "results.json")
    assert [row.teacher_calls for row in again.rows] == [row.teacher_calls for row in first.rows]
    assert "use --overwrite or another path" in refusal("evaluate", f"--run={run}", f"--output={tmp_path / 'out'}")


def test_a_teacher_by_itself(tmp_path):
    output = output_of("evaluate", "--preset=debug", "--episodes=16", f"--output={tmp_path / 'out'}")
    assert "toy:Reach-v0" in output
    (row,) = read_results(tmp_path / "out" / "results.json").rows
    assert row.is_teacher and row.env == "toy:Reach-v0" and 0.0 < row.success_once <= 1.0


def test_a_saved_student_teaches(run, tmp_path):
    output_of(
        "train",
        "--preset=debug",
        "--config.variants=ppd",
        "--config.seeds=0",
        "--config.teacher.name=policy",
        f"--config.teacher.path={run}",
        f"--config.run.directory={tmp_path / 'second'}",
    )
    rows = json.loads((tmp_path / "second" / "results.json").read_text())["rows"]
    assert rows[0]["variant"] == "teacher:policy:strong/3"


def test_a_saved_student_is_known_again_by_its_parameters(run, monkeypatch):
    config, checkpoint = load_checkpoint(run)
    env_spec = make_env(config.env, [0], rgb=False, end_on_success=False).spec
    first, again = (PolicyTeacher(env_spec, run).spec.checkpoint for _ in range(2))
    others = {name: np.asarray(leaf) + 1 for name, leaf in checkpoint.params.items()}
    monkeypatch.setattr(
        "teachers.policy.teacher.load_checkpoint", lambda _: (config, checkpoint._replace(params=others))
    )
    assert first == again != PolicyTeacher(env_spec, run).spec.checkpoint and len(first) == 16


OWN_TEACHER = """
import dataclasses
import numpy as np
from rpd_jax.config import TeacherConfig, setting
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers import register_teacher

@dataclasses.dataclass
class MineSettings(TeacherConfig):
    name: str = "mine"
    strength: float = setting(1.0, above=0)

class Mine:
    def __init__(self, env_spec, settings):
        self.spec, self.strength = TeacherSpec(f"mine:{settings.strength}", ("state",), None), settings.strength

    def label(self, observation, instructions, key):
        action = np.full((len(observation["state"]), 7), self.strength, np.float32)
        return TeacherLabels(action, np.ones(len(action), bool), np.ones_like(action))

register_teacher("mine", MineSettings, Mine)
"""


def test_a_users_own_teacher_is_imported_and_named(tmp_path, monkeypatch):
    (tmp_path / "my_teacher.py").write_text(OWN_TEACHER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    own = ["--import=my_teacher", "--config.teacher.strength=0.5", "--config.teacher.name=mine"]
    assert "teacher:mine:0.5" in launch("evaluate", "--preset=debug", *own, f"--output={tmp_path / 'out'}").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--import=no_such"], "--import=no_such cannot work: No module named 'no_such'"),
        (["--preset=quikstart"], "did you mean 'quickstart'"),
        (["--preset=debug", "--config.algorithm.learning_rat=1"], "did you mean 'learning_rate'"),
        (
            ["--preset=debug", "--config.algorithm.epochs=many"],
            "epochs='many' cannot work: it must be a whole number",
        ),
        (["--preset=debug", "--bogus=1"], "Unknown command line flag 'bogus'"),
        (["--preset=debug", "--config.env.num_envs=0"], "env.num_envs=0 cannot work: it must be at least 1"),
        (["--preset=debug", "--config.variants=ppo,rdp-mse"], "did you mean 'rpd-mse'"),
        (["--preset=debug", "--config.env.name=toy:Reech-v0"], "did you mean 'Reach-v0'"),
        (["--preset=debug", "--config.teacher.name=toi"], "did you mean 'toy'"),
        (["--preset=debug", "--config.env.name=toy:ConstantReward-v0"], "has no toy teacher"),
        (["--preset=debug", "--config.teacher.name=policy", "--config.teacher.path=nowhere"], "not a run directory"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    assert message in refusal("train", *arguments, f"--config.run.directory={tmp_path / 'run'}")
    # nothing was left behind, so that the corrected command is not refused
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_the_preset_is_read_before_the_flags():
    from rpd_jax.launch.flags import requested_preset

    assert requested_preset(["--preset", "debug"], "quickstart").preset == "debug"
    assert requested_preset(["x", "--preset=rpd-paper"], "quickstart").preset == "rpd-paper"
    assert requested_preset(["x"], "debug").preset == "debug"
    with pytest.raises(ConfigError, match="preset=''"):
        requested_preset(["x", "--preset"], "debug")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("--resume", True), ("--noresume", False), ("--resume=true", True), ("--resume=40", 40), ("--resume=1", 1)],
)
def test_resume_takes_the_iteration_of_a_checkpoint_too(argument, value):
    assert resume_flag(argument) is value or (resume_flag(argument) == value and type(value) is int)


@pytest.mark.parametrize("argument", ["--resume=0", "--resume=-1", "--resume=newest", "--resume=1.5"])
def test_resume_takes_nothing_else(argument):
    with pytest.raises(flags.IllegalFlagValueError, match="resume"):
        resume_flag(argument)


def resume_flag(argument):
    values = flags.FlagValues()
    holder = define_resume("", values)
    values(["program", argument])
    return holder.value
