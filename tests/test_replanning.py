"""A teacher that acts by chunks: what is executed, when it is asked, and what a run says of it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arm_spec import arm_spec

import rpd_jax
from rpd_jax.config import Config, ConfigError, EnvConfig, EvalConfig, TeacherConfig
from rpd_jax.config.teacher import Acting
from rpd_jax.demonstrations.collect import Settings, collect
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.envs.toy.reach import TOY_CONTRACT, Reach
from rpd_jax.guidance.labels import checked, label_steps
from rpd_jax.presets import get_preset
from rpd_jax.report.results import read_results
from rpd_jax.training.evaluation import TeacherPolicy, executable
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.base import load

C, STEPS = 3, 8
ENV = SimpleNamespace(num_envs=3, spec=arm_spec())
STARTS = np.zeros((STEPS, 3), bool)
STARTS[0] = STARTS[3, 1] = STARTS[4, 2] = True  # the second and the third environment begin a second episode


class Counting:
    """Action c of the chunk planned at step t is 10 t + c, plus noise; the state is the step."""

    def __init__(self, noise=0.0, history=1):
        self.spec = TeacherSpec("counting", ("state",), None, chunk=C, history=history)
        self.noise, self.asked, self.seen = noise, [], []

    def label(self, observation, instructions, key):
        return self.label_chunk(observation, instructions, key).first()

    def label_chunk(self, observation, instructions, key):
        newest = np.array(observation["state"])[..., 0].reshape(len(observation["state"]), -1)
        self.asked.append(int(newest[0, -1]))
        self.seen.append(newest)
        action = 10 * newest[:, -1:, None] + np.arange(C)[:, None] + np.zeros(7)
        action = action + self.noise * jax.random.normal(key, action.shape)
        return TeacherLabels(action, jnp.ones(action.shape[:2], bool), jnp.ones(action.shape))


def acted(teacher, replan_every, starts=STARTS):
    """The first number of every action, [T, B]."""
    policy = TeacherPolicy(teacher, ENV, jax.random.key(0), acting=Acting(replan_every))
    states = [{"state": np.full((3, 3), step, np.float32)} for step in range(len(starts))]
    return np.array([policy(state, each)[:, 0] for state, each in zip(states, starts, strict=True)])


@pytest.mark.parametrize(
    ("replan_every", "first", "second", "third", "asked"),
    [
        (1, *["0 10 20 30 40 50 60 70"] * 3, "0 1 2 3 4 5 6 7"),
        (2, "0 1 20 21 40 41 60 61", "0 1 20 30 31 50 51 70", "0 1 20 21 40 41 60 61", "0 2 3 4 5 6 7"),
        (3, "0 1 2 30 31 32 60 61", "0 1 2 30 31 32 60 61", "0 1 2 30 40 41 42 70", "0 3 4 6 7"),
    ],
)
def test_plans_are_executed_until_the_next_or_the_episodes_end(replan_every, first, second, third, asked):
    teacher = Counting()
    found = acted(teacher, replan_every).astype(int).T
    assert [" ".join(map(str, row)) for row in (*found, teacher.asked)] == [first, second, third, asked]


def test_an_environment_acts_alike_whenever_the_others_begin():
    alone = STARTS & (np.arange(3) == 0)
    alone[0] = True
    company, by_itself = (acted(Counting(noise=1.0), 2, starts) for starts in (STARTS, alone))
    np.testing.assert_array_equal(company[:, 0], by_itself[:, 0])
    assert (company[3:, 1] != by_itself[3:, 1]).any()


def test_a_history_has_the_steps_at_which_nobody_is_asked():
    teacher = Counting(history=2)
    acted(teacher, 3)
    np.testing.assert_array_equal(teacher.seen[1], [[2, 3], [3, 3], [2, 3]])  # an episode begins in the second


def test_each_action_of_a_chunk_is_checked_by_itself():
    action = np.ones((2, C, 7), np.float32)
    action[0, 1, 6], action[1, 2, 0] = np.nan, 101.0
    given = TeacherLabels(action, np.ones((2, C), bool), np.ones((2, C, 7), np.float32))
    labels = checked(given)
    np.testing.assert_array_equal(labels.valid, [[True, False, True], [True, True, False]])
    assert not labels.action[0, 1].any() and np.isfinite(labels.action).all()
    teacher = Counting()
    teacher.label_chunk = lambda *_: jax.tree.map(lambda x: np.concatenate([x, x[:1]]), given)
    policy = TeacherPolicy(teacher, ENV, jax.random.key(0), acting=Acting(C))
    for step, expected in enumerate(([1, 1, 1], [0, 1, 0], [1, 0, 1])):  # the arm stands still where there is none
        np.testing.assert_array_equal(executable(policy({"state": np.zeros((3, 3))}, STARTS[step]))[:, 6], expected)


def test_one_step_of_a_teacher_without_chunks():
    teacher = load("toy", Reach().spec)
    labels = label_steps(teacher, {"state": np.ones((5, 6), np.float32)}, "", jax.random.key(0), 1)
    assert [leaf.shape for leaf in labels] == [(5, 1, 7), (5, 1), (5, 1, 7), (5, 1)]


class Planning:
    """The toy teacher without noise, which knows where its actions lead: its plans are as good as its answers."""

    def __init__(self, env):
        self._teacher = load("toy", env.spec)
        self.spec = TeacherSpec("planning", ("state",), None, chunk=C)
        self.calls = 0

    def label(self, observation, instructions, key):
        return self.label_chunk(observation, instructions, key).first()

    def label_chunk(self, observation, instructions, key):
        self.calls += 1
        state, steps = jnp.asarray(observation["state"]), []
        for _ in range(C):
            steps.append(self._teacher.label({"state": state}, instructions, key))
            state = state.at[:, :3].add(TOY_CONTRACT.translation_scale * steps[-1].action[:, :3])
        return jax.tree.map(lambda *x: jnp.stack(x, axis=1), *steps)


def toy(replan_every):
    return Config(
        env=EnvConfig(name="toy:Reach-v0", max_episode_steps=8),
        teacher=TeacherConfig(name="toy", replan_every=replan_every),
        eval=EvalConfig(episodes=4, num_envs=4, videos=0),
    )


def test_an_evaluation_asks_less_often_and_says_so(tmp_path):
    rows, calls = [], []
    for replan_every in (1, 3):
        made = []
        factory = lambda env, made=made: made.append(Planning(env)) or made[0]  # noqa: E731
        output = tmp_path / str(replan_every)
        (row,) = rpd_jax.evaluate_teacher(toy(replan_every), factory, output)
        rows.append(row)
        calls.append(made[0].calls)
        results = read_results(output / "results.json")
        assert results.rows == (row,) and results.config["teacher"]["replan_every"] == replan_every
        assert ("replan_every=3" in (output / "table.md").read_text()) == (replan_every == 3)
    assert rows[0].success_once == rows[1].success_once == 1.0
    assert rows[0].episode_return == pytest.approx(rows[1].episode_return, abs=1e-4)
    assert calls == [8, 3] and [row.note for row in rows] == ["", "replan_every=3"]


def test_a_collection_records_what_was_executed_and_how_often_it_was_planned(tmp_path):
    settings, found = Settings(episodes=4, num_envs=2), []
    for replan_every in (1, 3):
        collect(toy(replan_every), Planning, settings, tmp_path / str(replan_every))
        with Demonstrations(tmp_path / str(replan_every)) as demonstrations:
            assert demonstrations.info.teacher_settings["replan_every"] == replan_every
            found.append(list(demonstrations))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.action, other.action, atol=1e-4)
    with pytest.raises(ConfigError, match=r"replan_every=2 cannot work: .* was begun with 3"):
        collect(toy(2), Planning, settings, tmp_path / "3", resume=True)


def test_more_than_a_chunk_cannot_be_executed(tmp_path):
    """Said before anything is written, also by a training run, whose teacher acts at its end."""
    message = (
        "teacher.replan_every=4 cannot work: it must be at least 1 and at most 3, the actions in a chunk of .* planning"
    )
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match=message):
        collect(toy(4), Planning, Settings(), tmp_path / "demos")
    with pytest.raises(ConfigError, match=message):
        rpd_jax.evaluate_teacher(toy(4), Planning, tmp_path / "evaluation")
    config = get_preset("debug")
    config.teacher.replan_every, config.run.directory = 4, str(tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        rpd_jax.train(config, Planning)
    mute = SimpleNamespace(spec=TeacherSpec("mute", ("state",), None, chunk=C))
    with pytest.raises(ConfigError, match="replan_every=2 cannot work: it must be 1: teacher mute has no label_chunk"):
        TeacherPolicy(mute, ENV, jax.random.key(0), acting=Acting(2))
    divided = SimpleNamespace(num_envs=3, spec=arm_spec(horizon_scale=5))
    with pytest.raises(ConfigError, match=r"replan_every=2 cannot work: it must be 1 with env\.horizon_scale=5"):
        TeacherPolicy(Counting(), divided, jax.random.key(0), acting=Acting(2))
    assert not (tmp_path / "demos").exists() and not (tmp_path / "evaluation" / "results.json").exists()
