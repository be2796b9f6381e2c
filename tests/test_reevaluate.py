"""Evaluating a run elsewhere: what its actions become, what is put back, and what does not fit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from rpd_jax.algorithms.base import learned
from rpd_jax.config import Config, ConfigError, EnvConfig, EvalConfig, NetworkConfig
from rpd_jax.envs.base import ArraySpec, EnvSpec, StepResult
from rpd_jax.envs.maniskill.tasks import contract as maniskill_contract
from rpd_jax.envs.tabletop.hand import CONTRACT
from rpd_jax.report.results import read_results
from rpd_jax.runs.checkpoint import CONFIG_FILE, Checkpoint, CheckpointError, CheckpointStore, to_paths
from rpd_jax.training import reevaluation
from rpd_jax.training.population import Population

MANISKILL = maniskill_contract("pd_ee_delta_pose")
STATE = {"tabletop": 40, "maniskill": 42}  # PickCube's: the hand has 2 x 8 joints, ManiSkill's arm 2 x 9
EE = 28
STEPS = 2


class FakeEnv:
    """Random observations in the shapes of a suite's PickCube; remembers observations and actions."""

    def __init__(self, config, seeds):
        suite = config.name.split(":")[0]
        sizes = {"state": STATE[suite], "ee": EE}
        self.spec = EnvSpec(
            name=config.name,
            instruction="",
            max_episode_steps=STEPS,
            action_dim=7,
            action_low=(-1.0,) * 7,
            action_high=(1.0,) * 7,
            observation={key: ArraySpec((size,), "float32") for key, size in sizes.items()},
            layout={},
            contract=CONTRACT if suite == "tabletop" else MANISKILL,
        )
        self.config, self.num_envs, self.sizes = config, len(seeds), sizes
        self.rng = np.random.default_rng(0)
        self.seen, self.actions, self.closed = [], [], False

    def observe(self):
        rows = {key: self.rng.normal(size=(self.num_envs, n)).astype(np.float32) for key, n in self.sizes.items()}
        self.seen.append(rows)
        return rows

    def reset(self):
        return self.observe()

    def step(self, action):
        self.actions.append(np.array(action))
        ended = np.full(self.num_envs, len(self.actions) % STEPS == 0)
        observation = self.observe()
        return StepResult(observation, observation, np.zeros(self.num_envs), ~ended & False, ended, ended & False)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def close(self):
        self.closed = True


@pytest.fixture
def made(monkeypatch):
    """The environments that an evaluation makes, which are fake."""
    envs = []

    def make_env(config, seeds, *, rgb, end_on_success):
        assert not end_on_success
        envs.append(FakeEnv(config, seeds))
        return envs[-1]

    monkeypatch.setattr(reevaluation, "make_env", make_env)
    return envs


def save_run(directory, observation) -> tuple[Population, object]:
    """A run directory of two members who were trained on nothing, whose actions leave the box now and then."""
    env = EnvConfig(name="tabletop:PickCube-v1", observation=observation, physics="c", camera_fov=0.5)
    config = Config(
        variants=("ppo",),
        seeds=(0, 1),
        env=env,
        network=NetworkConfig(hidden=(8,)),
        eval=EvalConfig(num_envs=3, episodes=3, videos=1),
    ).validate()
    population = Population(config, FakeEnv(env, [0]).spec)
    members = population.init()
    wide = jax.tree_util.tree_map_with_path(
        lambda path, x: 100.0 * x if "actor_out" in str(path) else x, members.params
    )
    members = members._replace(params=wide)
    directory.mkdir()
    (directory / CONFIG_FILE).write_text(json.dumps(config.to_dict()))
    host = {"iteration": 1, "seconds": 1.0, "ledgers": [{"labels": 0}] * 2}
    store = CheckpointStore(directory)
    store.save(1, Checkpoint(to_paths(learned(members)), {"nothing": np.zeros(1)}, host))
    store.close()
    return population, members


def means(population, members, observation):
    grouped = {key: x.reshape(2, 3, -1) for key, x in observation.items()}
    return np.asarray(population.mean_action(members, grouped)).reshape(6, 7)


def test_in_another_suite_actions_are_said_in_its_terms(tmp_path, made):
    population, members = save_run(tmp_path / "run", "ee")
    (row,) = reevaluation.evaluate(tmp_path / "run", env="maniskill:PickCube-v1")
    (env,) = made
    assert row.env == "maniskill:PickCube-v1" and env.closed
    acted = means(population, members, env.seen[0])
    assert np.abs(acted).max() > 1.0  # beyond the box, in which they were trained to act
    # ManiSkill inverts the rotation, and nothing else differs
    expected = np.clip(acted, -1, 1) * np.array([1, 1, 1, -1, -1, -1, 1])
    np.testing.assert_allclose(env.actions[0], expected, atol=1e-5)


def test_in_its_own_suite_a_runs_actions_are_as_they_are(tmp_path, made):
    population, members = save_run(tmp_path / "run", "ee")
    reevaluation.evaluate(tmp_path / "run")
    (env,) = made
    np.testing.assert_allclose(env.actions[0], means(population, members, env.seen[0]), rtol=1e-6)
    assert env.config.physics == "c" and env.config.camera_fov == 0.5


def test_what_the_other_suite_does_not_know_is_put_back(tmp_path, made):
    save_run(tmp_path / "run", "ee")
    reevaluation.evaluate(tmp_path / "run", env="maniskill:PickCube-v1")
    # the camera is a setting of both suites, the physics engine of one
    assert made[0].config == EnvConfig(name="maniskill:PickCube-v1", observation="ee", camera_fov=0.5)
    written = read_results(tmp_path / "run" / "evaluation" / "results.json").config
    assert "physics" not in written["env"]


def test_a_student_of_the_whole_state_is_told_what_would_fit(tmp_path, made):
    save_run(tmp_path / "run", "state")
    with pytest.raises(CheckpointError, match=r"'state' of tabletop .* train with --config.env.observation=ee"):
        reevaluation.evaluate(tmp_path / "run", env="maniskill:PickCube-v1")
    assert made[0].closed and not (tmp_path / "run" / "evaluation").exists()


def test_within_a_suite_the_advice_would_be_wrong(tmp_path, made, monkeypatch):
    save_run(tmp_path / "run", "state")
    monkeypatch.setitem(STATE, "tabletop", 30)
    with pytest.raises(CheckpointError) as error:
        reevaluation.evaluate(tmp_path / "run", env="tabletop:PushCube-v1")
    assert "has shape" in str(error.value) and "--config" not in str(error.value)


def test_actions_that_cannot_be_converted_are_refused_before_anything_starts(tmp_path, made):
    save_run(tmp_path / "run", "ee")
    config = json.loads((tmp_path / "run" / CONFIG_FILE).read_text())
    config["env"] |= {"name": "maniskill:PickCube-v1", "control_mode": "pd_joint_pos", "physics": "auto"}
    (tmp_path / "run" / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="the run's actions do not fit the environment"):
        reevaluation.evaluate(tmp_path / "run", env="tabletop:PickCube-v1")
    assert not made


def test_converters_by_hand():
    assert reevaluation.action_converter(CONTRACT, CONTRACT) is None
    assert reevaluation.action_converter(None, None) is None
    with pytest.raises(ConfigError, match="the run's actions do not fit the environment: target contract is None"):
        reevaluation.action_converter(CONTRACT, None)
    # half the translation and the other gripper: 1 is 5 cm, and 3 is no more, since the box ends at 1
    other = dataclasses.replace(CONTRACT, translation_scale=0.05, gripper_closed=1.0, gripper_open=-1.0)
    converter = reevaluation.action_converter(other, CONTRACT)
    np.testing.assert_allclose(
        converter(np.array([[3.0, -0.4, 0.0, 0.1, 0.2, 0.3, 0.8]], np.float32)),
        [[0.5, -0.2, 0.0, 0.1, 0.2, 0.3, -0.8]],
        atol=1e-6,
    )
