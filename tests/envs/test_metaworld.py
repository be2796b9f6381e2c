"""Meta-World around its simulator: names, settings, what its script says at every observation, rewards."""

import sys

import jax
import numpy as np
import pytest
from fake_rows import HERE

import teachers
from rpd_jax import train
from rpd_jax.algorithms.variants import parse_variant
from rpd_jax.config import Config, ConfigError, EnvConfig, PPOConfig, TeacherConfig
from rpd_jax.envs.base import episode_seed
from rpd_jax.envs.metaworld import pool, tasks
from rpd_jax.envs.registry import check_env, make_env, suite_of, task_info
from rpd_jax.training.guidance_check import check_guidance
from teachers.settings import teacher_factory

SEEDS = (11, 12, 13)


@pytest.fixture
def settings(monkeypatch):
    """Of environments of `fake_metaworld`."""
    monkeypatch.setattr(pool, "_WORKER", "fake_metaworld")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    return {"name": "metaworld:pick-place-v3", "max_episode_steps": 4, "processes": 2, "python": sys.executable}


@pytest.fixture
def make(settings):
    """Makes them, three rows in two processes."""
    envs = []

    def build(**changed):
        config = EnvConfig(**settings | changed)
        envs.append(make_env(config, SEEDS, rgb=False, end_on_success=True, random_ages=False))
        return envs[-1]

    yield build
    for env in envs:
        env.close()


def answers(seeds, steps):
    """What the script says, clipped, of episodes of these seeds after so many steps."""
    return [[np.float32(step / 10), 1, 0, seed % 1000 % 2] for seed, step in zip(seeds, steps, strict=True)]


def seeds_of(episodes):
    return [episode_seed(seed, episode) for seed, episode in zip(SEEDS, episodes, strict=True)]


def test_what_is_known_without_starting_anything():
    info = task_info(EnvConfig(name="metaworld:button-press-topdown-wall-v3"))
    assert info.instructions == ("button press topdown wall",) and info.max_episode_steps == 500
    assert info.contract is None and info.success and info.units["hand_pos"] == (3, "m")
    suite = suite_of(EnvConfig(name="metaworld:reach-v3"))
    assert len(set(suite.tasks())) == 50 and sum(tasks.STATE.values()) == 39
    assert len(suite.members("MT10")) == 10 and set(suite.members("MT10")) < set(suite.members("MT50"))
    assert suite.members("reach-v3") == ("reach-v3",)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "metaworld:pick-place"}, "did you mean 'pick-place-v3'"),
        ({"python": "/no/such/python"}, "no interpreter is there; `make metaworld-env` makes .venv-metaworld/bin/pyth"),
        ({"observation": "rgb+rgb_front"}, "Meta-World's cameras are"),
        ({"observation": "ee"}, "env.observation='ee' cannot work in Meta-World"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(changed, message):
    with pytest.raises(ConfigError, match=message):
        check_env(EnvConfig(**{"name": "metaworld:pick-place-v3"} | changed))


@pytest.mark.parametrize("variant", ["vlajs", "rpd-mse:direction=1"])
def test_what_needs_deltas_of_an_end_effector_is_refused(variant):
    config = Config(env=EnvConfig(name="metaworld:reach-v3"))
    with pytest.raises(ConfigError, match="cannot work in metaworld:reach-v3 with xyz_gripper: windows and directions"):
        check_guidance(parse_variant(variant), config)


def test_the_script_answers_at_every_observation_of_its_episode(make):
    env = make()
    assert env.reset()["expert"].tolist() == answers(seeds_of([0, 0, 0]), [0, 0, 0])
    action = np.zeros((3, 4))
    action[1, 1] = 1.0
    result = env.step(action)
    assert result.terminated.tolist() == result.success.tolist() == [False, True, False]
    assert result.final_observation["expert"].tolist() == answers(seeds_of([0, 0, 0]), [1, 1, 1])
    assert result.observation["expert"].tolist() == answers(seeds_of([0, 1, 0]), [1, 0, 1])
    # A simulation that is not finite ends at the observation before, and so does what the script says there.
    before, action = {name: x.copy() for name, x in result.observation.items()}, np.zeros((3, 4))
    action[2, 1] = -1.0
    result = env.step(action)
    assert result.truncated.tolist() == [False, False, True]
    for name, x in before.items():
        np.testing.assert_array_equal(result.final_observation[name][2], x[2])
    assert result.observation["expert"].tolist() == answers(seeds_of([0, 1, 1]), [2, 1, 0])


def test_observations_and_what_they_are_made_of(make):
    env = make(instruction="put it there")
    observation = env.reset()
    assert {name: x.shape for name, x in observation.items()} == {"state": (3, 39), "proprio": (3, 4), "expert": (3, 4)}
    assert env.spec.layout["proprio"] == {"hand_pos": (0, 3), "gripper_opening": (3, 4)}
    assert env.spec.contract is None and env.spec.instruction == "put it there"
    assert env.spec.cameras == {"rgb": (256, 256, 3), "rgb_wrist": (256, 256, 3)}


@pytest.mark.parametrize(
    ("reward", "paid"), [("sparse", [0, 1, 0]), ("dense", [0, 0.5, 1]), ("normalized_dense", [0, 0.05, 0.1])]
)
def test_rewards(make, reward, paid):
    env = make(reward=reward)
    env.reset()
    np.testing.assert_allclose(env.step(np.array([[0, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0.0]])).reward, paid)


def test_the_teacher_answers_with_the_script_and_the_student_does_not_see_it(settings, make, tmp_path):
    spec = make().spec
    teacher, answer = teachers.load("expert", spec), np.array([[0.5, 1, 0, -1.0]], np.float32)
    labels = teacher.label({"expert": answer}, "", jax.random.key(0))
    np.testing.assert_array_equal(labels.action, answer)
    assert teacher.spec.is_scripted and labels.valid.all()
    noisy = teachers.load("expert", spec, noise=0.5, samples=4).label({"expert": answer}, "", jax.random.key(0))
    assert np.abs(noisy.action - answer).max() > 0 and np.abs(noisy.action).max() <= 1
    config = Config(
        variants=("rpd-mse",),
        seeds=(0,),
        env=EnvConfig(**settings | {"reward": "sparse", "num_envs": 2}),
        teacher=TeacherConfig(name="expert"),
        algorithm=PPOConfig(rollout_length=4, total_steps=16, minibatches=2, epochs=1),
    )
    config.network.hidden = (8,)
    config.eval.episodes = config.eval.num_envs = config.eval.curve_episodes = 2
    config.eval.videos = config.eval.every = 0
    result = train(config, teacher_factory(config.teacher), directory=tmp_path / "run")
    assert result.table[0].success_once == 1.0  # the teacher's, which does action[1] = 1
    assert set(result.student().observation) == {"state"}


def test_other_suites_bring_no_script():
    spec = make_env(EnvConfig(name="toy:Reach-v0"), [0], rgb=False, end_on_success=True).spec
    with pytest.raises(ValueError, match=r"env\.name='toy:Reach-v0' brings no script: metaworld's tasks do"):
        teachers.load("expert", spec)


def test_a_python_without_metaworld_is_told_what_to_do(monkeypatch, settings):
    monkeypatch.setattr(pool, "_WORKER", "rpd_jax.envs.metaworld.worker")
    with pytest.raises(RuntimeError, match=r"Meta-World cannot be imported by .*: run `make metaworld-env`"):
        make_env(EnvConfig(**settings), SEEDS, rgb=False, end_on_success=True)
