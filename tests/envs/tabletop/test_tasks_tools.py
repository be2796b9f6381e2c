"""LiftPegUpright, RollBall, PokeCube: rewards and success of states placed by hand, beginnings of episodes."""

import math

import numpy as np
import pytest
from hand_placed import at, check_uniform, fall, judge, placements, see, yaws
from scipy.spatial.transform import Rotation

from rpd_jax.envs.tabletop.model import build
from rpd_jax.envs.tabletop.tasks import load


def raised(degrees, height, roll=90.0):
    """The peg, rolled about its axis (90 degrees as it begins), its head then raised by so much; z of its middle."""
    turn = Rotation.from_rotvec([0, -math.radians(degrees), 0]) * Rotation.from_rotvec([math.radians(roll), 0, 0])
    x, y, z, w = turn.as_quat()
    return np.array([0, 0, height, w, x, y, z])


def lift(peg, tcp=(0, 0, 0.12), grasped=False):
    return judge("LiftPegUpright-v1", see("LiftPegUpright-v1", pose={"peg": peg}, tcp=tcp, grasped=grasped))


@pytest.mark.parametrize(
    ("peg", "changes", "reward", "success"),
    [
        # lying: 9.5 cm below a standing peg's middle, the hand 10 cm above it
        (raised(0, 0.025), {"tcp": (0, 0, 0.125)}, fall(0.095) + fall(0.1) / 5, False),
        (raised(0, 0.025), {"tcp": (0, 0, 0.125), "grasped": True}, fall(0.095) + 1 / 5, False),
        # raised by 30 degrees: the sine is 1/2; either end may go up
        (raised(30, 0.08), {"tcp": (0, 0, 0.08)}, 1 / 2 + fall(0.04) + 1 / 5, False),
        (raised(-30, 0.08), {"tcp": (0, 0, 0.08)}, 1 / 2 + fall(0.04) + 1 / 5, False),
        (raised(90, 0.12), {}, 3.0, True),
        (raised(-90, 0.12), {}, 3.0, True),
        # 0.08 rad (4.58 degrees) off at most, and 5 mm
        (raised(85.5, 0.12), {}, 3.0, True),
        (raised(85.3, 0.12), {}, math.sin(math.radians(85.3)) + 1 + 1 / 5, False),
        (raised(90, 0.1249), {}, 3.0, True),
        (raised(90, 0.1251), {}, 1 + fall(0.0051) + fall(0.0051) / 5, False),
        # upright, but about another of its axes: the last Euler angle is 0, as in ManiSkill that is no success
        (raised(89, 0.12, roll=0), {}, math.sin(math.radians(89)) + 1 + 1 / 5, False),
    ],
)
def test_lift_peg_upright_pays(peg, changes, reward, success):
    assert lift(peg, **changes) == (pytest.approx(reward, abs=1e-5), success)


def roll(ball_y, tcp, first_way=1.4):
    """The ball on the line x = 0; the target's middle at y = -0.8."""
    goal = {"goal_pos": (0, -0.8, 0.001), "first_way": first_way}
    return judge("RollBall-v1", see("RollBall-v1", pose={"ball": at(0, ball_y, 0.035)}, tcp=tcp, goal=goal))


# From y = 0.6 the way back is (0, 1.4, 0.034) / 1.400413: 8.5 cm along it are (0, 0.084975, 0.002064)
BEHIND = (0, 0.684975, 0.037064)


@pytest.mark.parametrize(
    ("ball_y", "tcp", "reward", "success"),
    [
        (0.6, (0.1, *BEHIND[1:]), fall(0.1, 2), False),
        # within 4 cm of there: 1 and the way to the target, 1.4 m
        (0.6, (0.039, *BEHIND[1:]), 1 + 20 * fall(1.4, 1), False),
        (0.6, (0.041, *BEHIND[1:]), fall(0.041, 2), False),
        # the hand far away, the ball 2 cm nearer to the target than in the beginning; half a centimetre is too little
        (0.58, (0, 0.3, 0.3), 1 + 20 * fall(1.38, 1), False),
        (0.595, (0, BEHIND[1] - 0.005, BEHIND[2] + 0.2), fall(0.2, 2), False),
        # 2 cm farther from it: the place behind the ball is farther too
        (0.62, (0, BEHIND[1] + 0.02, BEHIND[2] + 0.2), fall(0.2, 2), False),
        (-0.701, (0, 0.3, 0.3), 30.0, True),
        (-0.899, (0, 0.3, 0.3), 30.0, True),
        (-0.699, (0, 0.3, 0.3), 1 + 20 * fall(0.101, 1), False),
    ],
)
def test_roll_ball_pays(ball_y, tcp, reward, success):
    # the way back from nearby is turned by less than 0.001 rad, which at 20 cm is 0.1 mm
    assert roll(ball_y, tcp) == (pytest.approx(reward, abs=1e-4), success)


def poke(cube, *, tcp=(0, 0, 0.025), peg_yaw=0.0, **changes):
    """The peg's middle at the origin, its head at x = 0.12; the target at x = 0.32."""
    pose = {"cube": at(*cube), "peg": at(0, 0, 0.025, peg_yaw)}
    return judge("PokeCube-v1", see("PokeCube-v1", tcp=tcp, pose=pose, goal={"target": (0.32, 0, 0.001)}, **changes))


FAST = (0.3, 0, 0, 0.4, 0, 0)  # rad/s: 0.5 in all, the fastest joint 0.4
HELD = {"grasped": True, "tcp": (0.009, 0, 0.025)}
ABOVE = {"tcp": (0, 0, 0.125)}  # 10 cm above the peg


@pytest.mark.parametrize(
    ("cube", "changes", "reward", "success"),
    [
        ((0.22, 0, 0.02), ABOVE, 2 * fall(0.1), False),
        # held, the cube 10 cm from the head and turned by 0.3 rad
        ((0.22, 0, 0.02, 0.3), HELD, 4 + fall(0.1) + fall(0.3), False),
        # the peg turned instead, which does not move the place that counts as its head
        ((0.22, 0, 0.02), {**HELD, "peg_yaw": -0.3}, 4 + fall(0.1) + fall(0.3), False),
        # held, but more than 1 cm from its middle
        ((0.22, 0, 0.02), {"grasped": True, "tcp": (0.011, 0, 0.025)}, 2 * fall(0.011), False),
        # in line (0.05 rad) and close (2.5 cm): the way to the target, 1.9 cm down as well
        ((0.144, 0, 0.02, 0.04), HELD, 7 + fall(math.hypot(0.176, 0.019)), False),
        ((0.146, 0, 0.02, 0.04), HELD, 4 + fall(0.026) + fall(0.04), False),
        ((0.144, 0, 0.02, 0.06), HELD, 4 + fall(0.024) + fall(0.06), False),
        # within 5 cm of the target: stillness counts, whatever the peg does
        ((0.28, 0.029, 0.02), {**ABOVE, "speed": FAST}, 2 * fall(0.1) + fall(0.5), False),
        ((0.28, 0.029, 0.02), {**ABOVE, "speed": (0, 0.19, 0, 0, 0, -0.19)}, 10.0, True),
        ((0.28, 0.031, 0.02), ABOVE, 2 * fall(0.1), False),
    ],
)
def test_poke_cube_pays(cube, changes, reward, success):
    assert poke(cube, **changes) == (pytest.approx(reward, abs=1e-5), success)


@pytest.mark.parametrize(
    ("task", "body", "mass"),
    [
        ("LiftPegUpright-v1", "peg", 0.6),  # 24 x 5 x 5 cm of water's density
        ("PokeCube-v1", "peg", 0.6),
        ("PokeCube-v1", "cube", 0.064),  # 4 x 4 x 4 cm
        ("RollBall-v1", "ball", 0.1796),  # 4 / 3 pi 3.5^3 = 179.6 cubic centimetres
    ],
)
def test_bodies_weigh_what_they_do_in_maniskill(task, body, mass):
    assert build(load(task).scene).mujoco.body(body).mass[0] == pytest.approx(mass, rel=1e-3)


def test_the_peg_begins_lying_on_its_side():
    peg = placements("LiftPegUpright-v1").pose["peg"]
    check_uniform(peg[:, 0], -0.1, 0.1)
    check_uniform(peg[:, 1], -0.1, 0.1)
    # a quarter turn about its own axis, x: half of it is 45 degrees
    np.testing.assert_allclose(peg[:, 2:], np.tile([0.025, 0.5**0.5, 0.5**0.5, 0, 0], (500, 1)), atol=1e-6)


def test_the_ball_begins_between_the_base_and_the_hand():
    begun = placements("RollBall-v1")
    ball, goal = begun.pose["ball"], begun.goal["goal_pos"]
    for values, low, high in ((ball[:, 0], -0.4, 0.2), (ball[:, 1], 0.5, 0.7)):
        check_uniform(values, low, high)
    for values, low, high in ((goal[:, 0], -0.4, 0.2), (goal[:, 1], -0.9, -0.7)):
        check_uniform(values, low, high)
    np.testing.assert_allclose(ball[:, 2], 0.035, atol=1e-7)
    np.testing.assert_allclose(begun.goal["first_way"], np.hypot(*(ball - np.pad(goal, ((0, 0), (0, 4))))[:, :2].T))


def test_the_cube_begins_before_the_pegs_head():
    begun = placements("PokeCube-v1")
    peg, cube, target = begun.pose["peg"], begun.pose["cube"], begun.goal["target"]
    for values in (peg[:, 0], peg[:, 1], cube[:, 1]):
        check_uniform(values, -0.1, 0.1)
    check_uniform(yaws(cube), -np.pi / 6, np.pi / 6)
    np.testing.assert_array_equal(yaws(peg), 0.0)
    # 10 cm before the head, which is 12 cm from the peg's middle; the target another 10 cm on
    np.testing.assert_allclose(cube[:, 0] - peg[:, 0], 0.22, atol=1e-6)
    np.testing.assert_allclose(target - cube[:, :3], np.tile([0.1, 0, -0.019], (500, 1)), atol=1e-6)
    np.testing.assert_allclose((peg[:, 2], cube[:, 2]), np.repeat([[0.025], [0.02]], 500, 1), atol=1e-7)


def test_observations_say_where_things_are_relative_to_each_other():
    pose = {"cube": at(0.2, 0.1, 0.02), "peg": at(0, 0, 0.025)}
    view = see("PokeCube-v1", tcp=(0.1, 0.2, 0.3), pose=pose, goal={"target": (0.3, 0.1, 0.001)})
    seen = load("PokeCube-v1").observe(view)
    np.testing.assert_allclose(seen["goal_pos"], [0, 0, 0.025])  # the peg's place, as ManiSkill has it
    np.testing.assert_allclose(seen["cube_to_goal_pos"], [0.1, 0, -0.019], atol=1e-6)
    np.testing.assert_allclose(seen["peghead_to_cube_pos"], [-0.08, -0.1, 0.005], atol=1e-6)
    np.testing.assert_allclose(seen["tcp_to_peg_pos"], [-0.1, -0.2, -0.275], atol=1e-6)
    moving = {"ball": (1, 2, 3, 4, 5, 6)}
    goal = {"goal_pos": (0, -0.8, 0.001), "first_way": 1.4}
    view = see("RollBall-v1", pose={"ball": at(0, 0.6, 0.035)}, velocity=moving, goal=goal)
    seen = load("RollBall-v1").observe(view)
    np.testing.assert_array_equal(seen["ball_vel"], [1, 2, 3])
    np.testing.assert_allclose(seen["ball_to_goal_pos"], [0, -1.4, -0.034], atol=1e-6)
