"""A horizon scale: episodes of more steps, each of which moves the tool by less; and teachers who need not know."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.actions.rotations import quaternion_inverse, quaternion_multiply, rotvec_from_quaternion
from rpd_jax.config import EnvConfig
from rpd_jax.envs import registry
from rpd_jax.envs.base import EnvSpec, divided
from rpd_jax.envs.functional import play
from rpd_jax.envs.maniskill import tasks as maniskill_tasks
from rpd_jax.envs.maniskill.pool import ManiSkillVectorEnv
from rpd_jax.envs.maniskill.settings import divide_motion
from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.types import TeacherLabels, TeacherSpec
from teachers.base import acting, load
from teachers.converted import ConvertedTeacher
from teachers.probe import probe_actions

SCALE = 10
UP, TURN = (0, 0, 1.0, 0, 0, 0, 1.0), (0, 0, 0, 0, 0, 1.0, 1.0)


def make(suite, scale, **settings):
    own = {"tabletop": {"physics": "c"}, "maniskill": {"processes": 1}}[suite]
    config = EnvConfig(name=f"{suite}:PickCube-v1", horizon_scale=scale, **own, **settings)
    return registry.make_env(config, [0, 1], rgb=False, end_on_success=False)


@pytest.fixture(scope="module", params=["tabletop", pytest.param("maniskill", marks=pytest.mark.vulkan)])
def scaled(request):
    env = make(request.param, SCALE)
    yield env
    env.close()


@pytest.mark.parametrize("scale", [2, 3, 7, 10, 30])
def test_contracts_are_divided_and_put_together_again(scale):
    part = divided(hand.CONTRACT, scale)
    assert part.translation_scale == pytest.approx(0.1 / scale, rel=1e-9)
    assert part.rotation_scale == pytest.approx(0.1 / scale, rel=1e-9)
    scales = {"translation_scale": 0.1, "rotation_scale": 0.1}
    assert dataclasses.replace(part, **scales) == hand.CONTRACT  # signs and gripper are as they were
    spec = EnvSpec("a:b", "", 1, 7, (), (), {}, {}, contract=part, horizon_scale=scale)
    assert spec.undivided_contract == hand.CONTRACT
    assert dataclasses.replace(spec, contract=None).undivided_contract is None
    assert divided(hand.CONTRACT, 1) is hand.CONTRACT


def test_an_episode_has_as_many_times_more_steps():
    assert TabletopEnv("PickCube-v1", horizon_scale=SCALE).spec.max_episode_steps == 500
    spec = TabletopEnv("PickCube-v1", horizon_scale=3, max_episode_steps=7).spec
    assert (spec.max_episode_steps, spec.horizon_scale) == (21, 3)
    assert spec.contract == divided(hand.CONTRACT, 3) and spec.undivided_contract == hand.CONTRACT


def test_the_hands_targets_by_hand():
    joints = jnp.array([0.1, -0.2, 0.15, 0.0, 0.0, 0.0, 0.04, 0.04])
    tenth = divided(hand.CONTRACT, SCALE)
    targets = jax.jit(lambda action: hand.targets(joints, action, 0.0, tenth))
    moved = targets(jnp.array([1.0, -0.5, 0.0, 0.0, 0.0, 1.0, -1.0]))
    # a tenth of 0.1 m and of 0.1 rad; the gripper closes as ever
    np.testing.assert_allclose(moved[:3] - joints[:3], [0.01, -0.005, 0.0], atol=1e-6)
    np.testing.assert_allclose(np.abs(moved[3:6]), [0.0, 0.0, 0.01], atol=1e-6)
    np.testing.assert_allclose(moved[6:], [-0.01, -0.01], atol=1e-7)
    # the rotation's norm is limited before: of (1, 1, 1) and of (1, 1, 1) / sqrt(3) the same comes out
    corner = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    inside = corner.at[3:6].multiply(3**-0.5)
    np.testing.assert_allclose(targets(corner), targets(inside), atol=1e-7)


def test_what_maniskill_is_told_by_hand():
    action = np.array([[1.0, -1.0, 0.5, 1.0, 1.0, -1.0, -1.0], [0.0, 0.2, 0.0, 0.3, 0.0, 0.4, 1.0]], np.float32)
    told = action.copy()
    divide_motion(told, 1)
    np.testing.assert_array_equal(told, action)
    divide_motion(told, SCALE)
    third = 0.1 / 3**0.5  # of a rotation whose norm is limited to 1; the other's norm is 0.5
    np.testing.assert_allclose(
        told, [[0.1, -0.1, 0.05, third, third, -third, -1.0], [0.0, 0.02, 0.0, 0.03, 0.0, 0.04, 1.0]], rtol=1e-6
    )


def travelled(env, action, whole):
    """Metres up and radians about z (the contract's sign) after each of `whole` undivided actions, medians."""
    scale, (low, high) = env.spec.horizon_scale, env.spec.layout["state"]["tcp_pose"]
    before = np.array(env.reset()["state"])[:, low:high]
    far = []
    for _ in range(whole):
        for _ in range(scale):
            after = env.step(np.tile(action, (2, 1))).final_observation
        after = np.array(after["state"])[:, low:high]
        turn = rotvec_from_quaternion(quaternion_multiply(after[:, 3:], quaternion_inverse(before[:, 3:])))
        far.append(np.median(np.stack([after[:, 2] - before[:, 2], np.asarray(turn)[:, 2]]), axis=1))
    return np.stack(far) * [1.0, env.spec.contract.rotation_sign]


def test_ten_steps_go_as_far_as_one(scaled):
    """Whatever the scale, the tool goes at the same speed per commanded metre once it is under way: within 6 %.

    (Its controller follows a target relative to where it is, so it lags by a share; ten corrections of a tenth and one
    correction differ a little in that share.) At the first whole action, from rest, one step is not enough to get under
    way, ten are: there the scaled environment goes farther, by at most the whole way of an action.
    """
    plain, found = make(scaled.spec.suite, 1), []
    try:
        for env in (plain, scaled):
            assert env.spec.max_episode_steps == 50 * env.spec.horizon_scale
            found.append([travelled(env, action, 5)[:, column] for column, action in enumerate((UP, TURN))])
    finally:
        plain.close()
    for one, ten in zip(*found, strict=True):
        speed = np.diff(one)[-1]
        assert 0.02 < speed < 0.1
        assert np.diff(ten)[-1] == pytest.approx(speed, rel=0.06)
        assert 0.9 * one[0] < ten[0] < one[0] + speed
        assert ten[-1] == pytest.approx(one[-1], abs=speed)


class Foreign:
    """Answers in a contract of its own with twice ManiSkill's scales, always the same."""

    spec = TeacherSpec(
        "foreign",
        ("state",),
        dataclasses.replace(maniskill_tasks.contract("pd_ee_delta_pose"), translation_scale=0.2, rotation_scale=0.2),
    )

    def label(self, observation, instruction, key):
        return TeacherLabels(jnp.full((1, 7), 0.25), jnp.ones(1, bool), jnp.full((1, 7), 0.1))


def test_converted_answers_are_the_same_numbers_at_every_scale():
    given = []
    for scale in (1, SCALE):
        spec = TabletopEnv("PickCube-v1", horizon_scale=scale).spec
        given.append(ConvertedTeacher(Foreign(), spec).label({}, "", jax.random.key(0)))
    # 0.25 of 0.2 m is 0.5 of 0.1 m; 0.5 in magnitude for the rotation, whose sign turns over; the gripper as it is
    np.testing.assert_allclose(given[0].action[0], [0.5, 0.5, 0.5, -0.5, -0.5, -0.5, 0.25], atol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), given[0], given[1])


def test_the_probe_measures_the_divided_contract(scaled):
    report = probe_actions(scaled)
    np.testing.assert_allclose(report.commanded, 0.2)  # 20 steps of 0.01 m or rad
    spec = dataclasses.replace(scaled.spec, contract=scaled.spec.undivided_contract)
    env = types.SimpleNamespace(spec=spec, num_envs=scaled.num_envs, reset=scaled.reset, step=scaled.step)
    with pytest.raises(ValueError, match=r"axis x does not move: 2 m were commanded"):
        probe_actions(env)


def test_a_scripted_teacher_succeeds():
    """It answers with whole deltas, each of which is the part of one step as it is.

    It closes the gripper by how far the cube still is, at a pace that is not divided: a hand that comes ten times more
    slowly would close above the cube, so that it is told to close 1.5 cm later.
    """
    env = TabletopEnv("PickCube-v1", engine="c", horizon_scale=SCALE, end_on_success=False)
    act = acting(load("scripted", env.spec, gripper_shift=0.015))
    run = jax.jit(lambda seeds: play(env, act, seeds, env.spec.max_episode_steps, jax.random.key(0)).success)
    success = run(jnp.arange(16, dtype=jnp.uint32))
    assert float(success.any(axis=0).mean()) >= 0.85


def test_control_modes_without_a_contract_are_refused():
    with pytest.raises(ValueError, match=r"horizon_scale: must be 1 in control mode 'pd_joint_pos', got 10"):
        ManiSkillVectorEnv("PickCube-v1", 1, [0], control_mode="pd_joint_pos", horizon_scale=SCALE)
