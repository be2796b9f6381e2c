"""PickCube, PushCube, PullCube, StackCube: rewards and success of states placed by hand, beginnings of episodes."""

import numpy as np
import pytest
from hand_placed import at, check_uniform, fall, judge, placements, see, yaws

from rpd_jax.envs.tabletop.tasks import load


def pick(**changes):
    """The cube 20 cm above the origin, the hand around it, the goal at the same place."""
    arguments = {"tcp": (0, 0, 0.2), "pose": {"cube": at(0, 0, 0.2)}, "goal": {"goal_pos": (0, 0, 0.2)}} | changes
    return judge("PickCube-v1", see("PickCube-v1", **arguments))


FAST = (0.3, 0, 0, 0.4, 0, 0)  # rad/s: 0.5 in all, the fastest joint 0.4


@pytest.mark.parametrize(
    ("changes", "reward", "success"),
    [
        # 10 cm from the cube, which is 20 cm from the goal: reaching only
        ({"tcp": (0.1, 0, 0.2), "goal": {"goal_pos": (0, 0, 0.4)}}, fall(0.1), False),
        # held: 1 for reaching, 1 for grasping, and the way to the goal
        ({"grasped": True, "goal": {"goal_pos": (0, 0, 0.4)}}, 2 + fall(0.2), False),
        # within 2.5 cm of the goal stillness counts, and 0.5 rad/s is not still
        ({"grasped": True, "goal": {"goal_pos": (0.02, 0, 0.2)}, "speed": FAST}, 2 + fall(0.02) + fall(0.5), False),
        # the same without a grasp: neither grasping nor carrying count
        ({"goal": {"goal_pos": (0.02, 0, 0.2)}, "speed": FAST}, 1 + fall(0.5), False),
        ({"goal": {"goal_pos": (0.0249, 0, 0.2)}, "speed": (0.19,) * 6}, 5.0, True),
        ({"goal": {"goal_pos": (0.0251, 0, 0.2)}}, 1.0, False),
    ],
)
def test_pick_cube_pays(changes, reward, success):
    assert pick(**changes) == (pytest.approx(reward, abs=1e-5), success)


def on_table(task, tcp, cube=(0.0, 0.0, 0.02), goal=(0.2, 0.0, 0.001)):
    """(reward, success) of PushCube or PullCube."""
    return judge(task, see(task, tcp=tcp, pose={"cube": at(*cube)}, goal={"goal_pos": goal}))


@pytest.mark.parametrize(
    ("arguments", "reward", "success"),
    [
        # one pushes from 2.5 cm behind the cube's middle: 10 cm further back, nothing but reaching counts
        ({"tcp": (-0.125, 0, 0.02)}, fall(0.1), False),
        # there, the cube 20 cm from its target and on the table: place and place times height (1)
        ({"tcp": (-0.025, 0, 0.02)}, 1 + 2 * fall(0.2), False),
        # the cube 3 cm up: its height's share is 1 - tanh(0.15)
        ({"tcp": (-0.025, 0, 0.05), "cube": (0, 0, 0.05)}, 1 + fall(0.2) * (1 + fall(0.03)), False),
        # at 1.1 cm from there nothing but reaching counts again
        ({"tcp": (-0.036, 0, 0.02)}, fall(0.011), False),
        # within 10 cm of the target, seen from above, wherever the hand is
        ({"tcp": (0, 0, 0.3), "cube": (0.101, 0, 0.02)}, 4.0, True),
        # in the air (more than 5 mm up) it does not count; the hand is far away
        ({"tcp": (0.2, 0, 0.326), "cube": (0.2, 0, 0.026)}, fall(np.hypot(0.025, 0.3)), False),
    ],
)
def test_push_cube_pays(arguments, reward, success):
    assert on_table("PushCube-v1", **arguments) == (pytest.approx(reward, abs=1e-5), success)


@pytest.mark.parametrize(
    ("arguments", "reward", "success"),
    [
        # one pulls from 3 cm beyond the cube's middle: 10 cm further on, nothing but reaching counts
        ({"tcp": (0.13, 0, 0.02)}, fall(0.1), False),
        ({"tcp": (0.03, 0, 0.02)}, 1 + fall(0.2), False),
        ({"tcp": (0.03, 0.011, 0.02)}, fall(0.011), False),
        # 10 cm of the target, even in the air
        ({"tcp": (0, 0, 0.3), "cube": (-0.12, 0.059, 0.02)}, 3.0, True),
        ({"tcp": (0, 0, 0.3), "cube": (-0.2, 0, 0.2)}, 3.0, True),
        ({"tcp": (-0.09, 0.061, 0.02), "cube": (-0.12, 0.061, 0.02)}, 1 + fall(np.hypot(0.08, 0.061)), False),
    ],
)
def test_pull_cube_pays(arguments, reward, success):
    assert on_table("PullCube-v1", goal=(-0.2, 0, 0.001), **arguments) == (pytest.approx(reward, abs=1e-5), success)


def stack(**changes):
    """Cube A on cube B, the hand around A."""
    arguments = {"tcp": (0, 0, 0.06), "pose": {}, **changes}
    arguments["pose"] = {"cubeA": at(0, 0, 0.06), "cubeB": at(0, 0, 0.02)} | arguments["pose"]
    return judge("StackCube-v1", see("StackCube-v1", **arguments))


MOVING = {"cubeA": (0.03, 0.04, 0, 0, 0.1, 0)}  # 5 cm/s, 0.1 rad/s


@pytest.mark.parametrize(
    ("changes", "reward", "success"),
    [
        # both on the table, 30 cm apart, the hand 10 cm above A
        ({"pose": {"cubeA": at(0.3, 0, 0.02)}, "tcp": (0.3, 0, 0.12)}, 2 * fall(0.1), False),
        # A held, 10 cm above its place
        ({"pose": {"cubeA": at(0, 0, 0.16)}, "grasped": True, "tcp": (0, 0, 0.3)}, 4 + fall(0.1), False),
        # stacked and still held: the fingers are half open, the cube is still
        ({"grasped": True, "fingers": 0.02}, 6 + (0.5 + 1) / 2, False),
        # let go, but moving: 10 * 0.05 + 0.1 = 0.6
        ({"velocity": MOVING}, 6 + (1 + fall(0.6, 1.0)) / 2, False),
        ({}, 8.0, True),
        # 5 mm too high at most; a side of up to 28.3 mm (half a face's diagonal) + 5 mm off
        ({"pose": {"cubeA": at(0.023, 0.024, 0.0649)}}, 8.0, True),
        ({"pose": {"cubeA": at(0, 0, 0.0651)}, "tcp": (0, 0, 0.0651)}, 2.0, False),
        ({"pose": {"cubeA": at(0.024, 0.024, 0.06)}, "tcp": (0.024, 0.024, 0.06)}, 2.0, False),
        # 1 cm/s and 0.5 rad/s at most
        ({"velocity": {"cubeA": (0, 0, 0.0099, 0, 0.49, 0)}}, 8.0, True),
        ({"velocity": {"cubeA": (0, 0, 0.0101, 0, 0, 0)}}, 6 + (1 + fall(0.101, 1.0)) / 2, False),
        ({"velocity": {"cubeA": (0, 0, 0, 0.4, 0.4, 0)}}, 6 + (1 + fall(0.4 * 2**0.5, 1.0)) / 2, False),
    ],
)
def test_stack_cube_pays(changes, reward, success):
    assert stack(**changes) == (pytest.approx(reward, abs=1e-5), success)


@pytest.mark.parametrize("task", ["PickCube-v1", "PushCube-v1", "PullCube-v1"])
def test_one_cube_begins_on_the_table(task):
    begun = placements(task)
    cube = begun.pose["cube"]
    check_uniform(cube[:, 0], -0.1, 0.1)
    check_uniform(cube[:, 1], -0.1, 0.1)
    np.testing.assert_allclose(cube[:, 2], 0.02, atol=1e-7)
    goal = begun.goal["goal_pos"]
    if task == "PickCube-v1":
        check_uniform(yaws(cube), -np.pi, np.pi)
        for axis, low, high in ((0, -0.1, 0.1), (1, -0.1, 0.1), (2, 0.02, 0.32)):
            check_uniform(goal[:, axis], low, high)
        # cube and goal are independent: a correlation of 500 pairs has a standard error of 0.045
        assert abs(np.corrcoef(cube[:, 0], goal[:, 0])[0, 1]) < 0.18
    else:
        np.testing.assert_array_equal(yaws(cube), 0.0)
        way = 0.2 if task == "PushCube-v1" else -0.2  # the near edge 10 cm away, the radius 10 cm
        np.testing.assert_allclose(goal - cube[:, :3], np.tile([way, 0, -0.019], (500, 1)), atol=1e-6)


def test_stacked_cubes_begin_apart():
    begun = placements("StackCube-v1", 20_000)
    a, b = begun.pose["cubeA"], begun.pose["cubeB"]
    for cube in (a, b):
        check_uniform(yaws(cube), -np.pi, np.pi)
        np.testing.assert_allclose(cube[:, 2], 0.02, atol=1e-7)
        # both lie within a region of 20 x 40 cm whose middle is up to 10 cm off, each way
        assert np.abs(cube[:, 0]).max() <= 0.2 and np.abs(cube[:, 1]).max() <= 0.3
        assert np.abs(cube[:, 0]).max() > 0.19 and np.abs(cube[:, 1]).max() > 0.28
    offset = (b - a)[:, :2]
    assert np.linalg.norm(offset, axis=1).min() > 2 * (0.02 * 2**0.5 + 0.001)
    # the distribution that drawing B until it is far enough from A has
    rng = np.random.default_rng(0)
    first, second = rng.uniform((-0.1, -0.2), (0.1, 0.2), (2, 40_000, 2))
    drawn = (second - first)[np.linalg.norm(second - first, axis=1) > 2 * (0.02 * 2**0.5 + 0.001)]
    levels = np.linspace(0.05, 0.95, 10)
    for axis in (0, 1):
        # density d: the standard error of a quantile is sqrt(p (1 - p) / 20000) / d, here at most 2 mm
        found, expected = (np.quantile(offsets[:, axis], levels) for offsets in (offset, drawn))
        np.testing.assert_allclose(found, expected, atol=0.01)


def test_observations_say_where_things_are_relative_to_each_other():
    view = see("PickCube-v1", tcp=(0.1, 0.2, 0.3), pose={"cube": at(0, 0, 0.02, 0.3)}, goal={"goal_pos": (0, 0.1, 0.2)})
    seen = load("PickCube-v1").observe(view)
    np.testing.assert_allclose(seen["tcp_to_obj_pos"], [-0.1, -0.2, -0.28], atol=1e-6)
    np.testing.assert_allclose(seen["obj_to_goal_pos"], [0, 0.1, 0.18], atol=1e-6)
    view = see("StackCube-v1", tcp=(0.1, 0.2, 0.3), pose={"cubeA": at(0, 0, 0.02), "cubeB": at(0.1, 0.1, 0.02)})
    seen = load("StackCube-v1").observe(view)
    np.testing.assert_allclose(seen["tcp_to_cubeB_pos"], [0, -0.1, -0.28], atol=1e-6)
    np.testing.assert_allclose(seen["cubeA_to_cubeB_pos"], [0.1, 0.1, 0], atol=1e-6)
    np.testing.assert_array_equal(seen["cubeA_pose"], view.pose["cubeA"])
