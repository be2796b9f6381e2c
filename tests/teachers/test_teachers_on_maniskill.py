"""Scripted teachers and the probe on ManiSkill itself."""

import dataclasses
import types

import numpy as np
import pytest

from rpd_jax.config import EvalConfig
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv
from rpd_jax.training.evaluation import teacher_episodes
from teachers.base import load
from teachers.probe import probe_actions

pytestmark = pytest.mark.vulkan


@pytest.fixture(scope="module")
def pick_cube():
    env = ManiSkillVectorEnv("PickCube-v1", 8, range(8), end_on_success=False)
    yield env
    env.close()


def successes(env, **settings):
    env.load_state_dict({"episode": np.zeros(env.num_envs, int)})
    protocol = EvalConfig(episodes=env.num_envs, num_envs=env.num_envs)
    return teacher_episodes(env, load("scripted", env.spec, **settings), protocol)[0]


def seen_as(env, **contract):
    """The environment with another contract written on it."""
    spec = dataclasses.replace(env.spec, contract=dataclasses.replace(env.spec.contract, **contract))
    return types.SimpleNamespace(spec=spec, num_envs=env.num_envs, reset=env.reset, step=env.step)


def test_pick_cube(pick_cube):
    result = successes(pick_cube)
    assert result.success_once.sum() >= 7 and result.success_at_end.sum() >= 7


def test_corruption_makes_a_teacher_worse(pick_cube):
    assert successes(pick_cube, aim_error=0.045, aim_error_fraction=1.0).success_once.sum() <= 1
    assert successes(pick_cube, bias=(0.0, 0.0, 0.06)).success_at_end.sum() <= 1
    assert successes(pick_cube, noise=0.6).success_once.sum() <= 3
    cube_y = np.asarray(scripted_cube_y(pick_cube))
    half = successes(pick_cube, aim_error=0.045, aim_error_fraction=0.5).success_once
    assert (half == (cube_y < 0)).sum() >= 7  # it is the half of the table that fails


def scripted_cube_y(env):
    env.load_state_dict({"episode": np.zeros(env.num_envs, int)})
    return env.reset()["state"][:, env.spec.layout["state"]["obj_pose"][0] + 1]


def test_the_probe_confirms_the_contract(pick_cube):
    report = probe_actions(pick_cube)
    assert (np.diag(report.displacement) > 0.2 * report.commanded).all()
    assert report.width_open > 0.05 > 0.02 > report.width_closed


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ({"rotation_sign": 1}, "axis rotation x moves backwards: .*rotation_sign"),
        ({"gripper_closed": 1.0, "gripper_open": -1.0}, "gripper: the fingers of maniskill:PickCube-v1"),
        ({"translation_scale": 0.01}, "axis x moves too far"),
        ({"translation_scale": 5.0}, "axis x does not move"),
    ],
)
def test_the_probe_contradicts_a_wrong_contract(pick_cube, contract, message):
    with pytest.raises(ValueError, match=message):
        probe_actions(seen_as(pick_cube, **contract))


def test_the_probe_contradicts_permuted_axes(pick_cube):
    env = seen_as(pick_cube)
    env.step = lambda action: pick_cube.step(np.asarray(action)[:, [1, 0, 2, 3, 4, 5, 6]])
    with pytest.raises(ValueError, match="axis x moves along another axis"):
        probe_actions(env)


@pytest.mark.parametrize(
    ("task", "least"),
    [
        pytest.param("StackCube-v1", 6, marks=pytest.mark.slow),
        pytest.param("PushCube-v1", 7, marks=pytest.mark.slow),
        pytest.param("PullCube-v1", 7, marks=pytest.mark.slow),
        pytest.param("LiftPegUpright-v1", 6, marks=pytest.mark.slow),
        pytest.param("RollBall-v1", 6, marks=pytest.mark.slow),
        pytest.param("PokeCube-v1", 5, marks=pytest.mark.slow),
    ],
)
def test_other_tasks(task, least):
    env = ManiSkillVectorEnv(task, 8, range(8), end_on_success=False)
    try:
        assert probe_actions(env).width_open > 0.05
        assert successes(env).success_once.sum() >= least
    finally:
        env.close()
