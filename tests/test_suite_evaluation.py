"""Evaluation of a set of tasks: shards, going on after interruptions, another protocol, students beside a teacher."""

import dataclasses
import json

import pytest

from rpd_jax.config import Config, ConfigError, EnvConfig, EvalConfig
from rpd_jax.envs import registry
from rpd_jax.envs.suite import FunctionalSuite
from rpd_jax.envs.toy.reach import Reach
from rpd_jax.training.suite_evaluation import evaluate_suite
from rpd_jax.training.trainer import train
from rpd_jax.types import TeacherError
from teachers.toy import ToySettings, ToyTeacher

CAPS = {"Short": 3, "Middle": 8, "Long": 20}


class SetSuite(FunctionalSuite):
    """Reaching under three caps, of which "All" is the set."""

    def tasks(self):
        return tuple(CAPS)

    def members(self, task):
        return self.tasks() if task == "All" else (task,)

    def functional(self, config, *, rgb, end_on_success):
        return Reach(CAPS[config.name.split(":")[1]], end_on_success)


class Dies(Exception):
    pass


@pytest.fixture(autouse=True)
def suite(monkeypatch):
    monkeypatch.setitem(registry.SUITES, "sets", SetSuite())
    monkeypatch.setitem(EnvConfig.kinds, "sets", EnvConfig)


def config(**evaluation):
    settings = EvalConfig(**{"episodes": 12, "num_envs": 4, "videos": 0} | evaluation)
    return Config(env=EnvConfig(name="sets:All"), variants=("ppo",), eval=settings)


def dying(after=10**9):
    """Makes teachers that together answer so often."""
    left = [after]

    def make(env):
        teacher = ToyTeacher(Reach().spec, ToySettings(noise=1.0))
        teacher.spec = dataclasses.replace(teacher.spec, name=f"toy:{env.spec.task}")
        label = teacher.label

        def limited(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Dies
            return label(*arguments)

        teacher.label = limited
        return teacher

    return make


def test_a_set_of_tasks_has_a_row_each_and_one_of_all(tmp_path):
    table = evaluate_suite(config(), dying(), tmp_path / "out")
    assert [row.env for row in table] == ["sets:Short", "sets:Middle", "sets:Long", "sets:All"]
    assert [row.note for row in table] == ["at most 3 steps", "at most 8 steps", "at most 20 steps", "3 tasks"]
    assert table[0].success_once < table[2].success_once
    assert table[3].success_once == pytest.approx(sum(row.success_once for row in table[:3]) / 3)
    assert (tmp_path / "out" / "table.md").read_text().count("\n") == 6


def test_killed_three_times_and_resumed_it_gives_the_same_table(tmp_path):
    whole = evaluate_suite(config(), dying(), tmp_path / "whole")
    for after in (2, 9, 30):
        with pytest.raises(TeacherError, match="Dies"):
            evaluate_suite(config(), dying(after), tmp_path / "cut", resume=True)
    files = sorted(path.name for path in (tmp_path / "cut" / "shards").iterdir())
    assert 3 <= len(files) < 9
    assert evaluate_suite(config(), dying(), tmp_path / "cut", resume=True) == whole
    for path in (tmp_path / "whole" / "shards").iterdir():
        assert json.loads(path.read_text()) == json.loads((tmp_path / "cut" / "shards" / path.name).read_text())


def test_another_protocol_is_not_mixed_in(tmp_path):
    evaluate_suite(config(episodes=4), dying(), tmp_path / "out")
    with pytest.raises(ConfigError, match="exists and is not empty"):
        evaluate_suite(config(episodes=4), dying(), tmp_path / "out")
    with pytest.raises(ConfigError, match="holds an evaluation with another rounds: use overwrite=True"):
        evaluate_suite(config(), dying(), tmp_path / "out", resume=True)
    evaluate_suite(config(), dying(), tmp_path / "out", overwrite=True)


def test_students_are_evaluated_beside_the_teacher(tmp_path):
    trained = Config(env=EnvConfig(name="sets:Long", num_envs=4), variants=("ppo", "rpd-mse"), seeds=(0, 1))
    trained.algorithm.total_steps, trained.algorithm.rollout_length = 4 * 8, 8
    trained.algorithm.minibatches, trained.algorithm.epochs = 2, 1
    trained.eval.every, trained.eval.episodes, trained.eval.num_envs, trained.eval.videos = 0, 4, 4, 0
    train(trained, dying(), directory=tmp_path / "run")
    trained.env.name, trained.eval.episodes = "sets:All", 8
    table = evaluate_suite(trained, dying(), tmp_path / "out", run=tmp_path / "run")
    assert [row.variant for row in table[:3]] == ["teacher:toy", "ppo", "rpd-mse"]
    assert len(table) == 12 and [row.seeds for row in table[:3]] == [0, 2, 2]
