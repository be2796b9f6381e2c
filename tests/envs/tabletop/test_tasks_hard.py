"""PullCubeTool, PegInsertionSide, PickPlaceCube: states placed by hand, beginnings of episodes, scenes.

That the scripted teachers solve them is in test_scripted_teachers.py, that the rewards are ManiSkill's in
test_rewards_against_maniskill.py.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hand_placed import at, check_uniform, fall, judge, placements, see, yaws

from rpd_jax.envs.functional import vector_reset, vector_step
from rpd_jax.envs.tabletop.env import TabletopEnv
from rpd_jax.envs.tabletop.model import build
from rpd_jax.envs.tabletop.tasks import load
from teachers.scripted import roll_ball
from teachers.scripted.geometry import Error, action_of

FAST = (0.3, 0, 0, 0.4, 0, 0)  # rad/s: 0.5 in all, the fastest joint 0.4


def pull(cube, *, tcp=(0.02, -0.2, 0.025), grasped=False):
    """The end of the tool's handle at (0, -0.2), which is held 2 cm further on."""
    pose = {"cube": at(*cube), "l_shape_tool": at(0, -0.2, 0.025)}
    return judge("PullCubeTool-v1", see("PullCubeTool-v1", tcp=tcp, pose=pose, grasped=grasped))


def progress(*cube):
    """How much of the way from (0.45, 0, 0.01) to the workshop at (-0.565, 0, 0) the cube has gone."""
    far = math.hypot(1.015, 0.01)
    return 1 - math.hypot(cube[0] + 0.565, cube[1], cube[2]) / far


@pytest.mark.parametrize(
    ("cube", "changes", "reward", "success"),
    [
        ((0.2, 0, 0.02), {"tcp": (0.02, -0.2, 0.125)}, 2 * fall(0.1), False),
        # the handle's end should be 7 cm before the cube and 6.7 cm to its right: it is 10 cm short of that
        ((0.17, -0.133, 0.025), {"grasped": True}, 2 + 2 + 1.5 * fall(0.1, 3), False),
        ((0.17, -0.133, 0.025), {}, 2, False),
        ((0.121, -0.133, 0.025), {"grasped": True}, 4 + 1.5 * fall(0.051, 3), False),
        # less than 5 cm short of it, the way that the cube has gone counts
        (
            (0.11, -0.133, 0.025),
            {"grasped": True},
            4 + 1.5 * fall(0.04, 3) + 3 * progress(0.11, -0.133, 0.025),
            False,
        ),
        ((0.11, -0.133, 0.025), {}, 2, False),
        ((0.499, 0.3, 0.02), {}, 2, False),
        ((0.501, 0.3, 0.02), {}, 0, False),
        # the base is 61.5 cm behind the origin: 60 cm from it are x = -0.015; 48 and 36 cm beside it are 60 too
        ((-0.014, 0, 0.02), {}, 2, False),
        ((-0.016, 0, 0.02), {}, 7, True),
        ((-0.134, 0.36, 0.02), {}, 2, False),
        ((-0.136, 0.36, 0.02), {}, 7, True),
    ],
)
def test_pull_cube_tool_pays(cube, changes, reward, success):
    assert pull(cube, **changes) == (pytest.approx(reward, abs=1e-5), success)


def insert(x, aside=0.0, up=0.0, *, tilt=0.0, sizes=(0.105, 0.023), off_grip=0.0, grasped=False):
    """The hole at (0, 0.3, 0.105), along +y; the peg's head at x along it, `aside` and `up`; it is turned by `tilt`."""
    length, hole = sizes
    yaw = math.pi / 2 + tilt
    along = np.array([math.cos(yaw), math.sin(yaw), 0])
    middle = np.array([-aside, 0.3 + x, 0.105 + up]) - length * along
    tcp = middle - 0.06 * along + np.array([0, 0, off_grip])
    pose = {"peg": at(*middle, yaw), "box_with_hole": at(0, 0.3, 0.105, math.pi / 2)}
    goal = {"peg_half_size": (length, 0.02, 0.02), "box_hole_radius": hole}
    return judge("PegInsertionSide-v1", see("PegInsertionSide-v1", tcp=tcp, pose=pose, goal=goal, grasped=grasped))


HELD = {"grasped": True}


@pytest.mark.parametrize(
    ("x", "changes", "reward", "success"),
    [
        (-0.3, {"aside": 0.05, "off_grip": 0.1}, fall(0.1, 4), False),
        # held at its grip (1 and 1); head and middle 5 cm off the axis: 0.5 * 0.1 + 4.5 * 0.05 = 0.275
        (-0.3, {"aside": 0.05, **HELD}, 2 + 3 * fall(0.275, 1), False),
        (-0.3, {"aside": 0.03, "up": -0.04, **HELD}, 2 + 3 * fall(0.275, 1), False),
        # the head on the axis, the middle 2 cm off it: 0.5 * 0.02 + 4.5 * 0.02 = 0.1
        (-0.3, {"tilt": math.asin(0.02 / 0.105), **HELD}, 2 + 3 * fall(0.1, 1), False),
        # both within 1 cm: 0.5 * 0.018 + 4.5 * 0.009 = 0.0495, and 20 cm from the middle of the hole
        (-0.2, {"aside": 0.009, **HELD}, 2 + 3 * fall(0.0495, 1) + 5 * fall(math.hypot(0.2, 0.009)), False),
        (-0.2, {"aside": 0.009}, 1, False),
        # more than 1 cm: 0.5 * 0.022 + 4.5 * 0.011 = 0.0605
        (-0.2, {"aside": 0.011, **HELD}, 2 + 3 * fall(0.0605, 1), False),
        (-0.0149, {}, 10, True),
        (-0.0151, {}, 1, False),
        (-0.0151, HELD, 2 + 3 + 5 * fall(0.0151), False),
        # within the hole's half width, in the square
        (0.1, {"aside": 0.0229, "up": -0.0229}, 10, True),
        (0.1, {"aside": 0.0231}, 1, False),
        (0.1, {"up": 0.0231}, 1, False),
        # a shorter peg and a narrower hole
        (-0.0149, {"aside": 0.0179, "sizes": (0.085, 0.018)}, 10, True),
        (-0.0149, {"aside": 0.0181, "sizes": (0.085, 0.018)}, 1, False),
    ],
)
def test_peg_insertion_side_pays(x, changes, reward, success):
    assert insert(x, **changes) == (pytest.approx(reward, abs=1e-5), success)


def place(cube, *, tcp=None, **changes):
    """The pedestal's top at (0.05, -0.1, 0.02): on it the cube's middle is at 0.04; the hand is there where it is."""
    pose = {"cube": at(*cube), "pedestal": at(0.05, -0.1, 0.01)}
    goal = {"goal_pos": (0.05, -0.1, 0.02)}
    return judge("PickPlaceCube-v1", see("PickPlaceCube-v1", tcp=tcp or cube, pose=pose, goal=goal, **changes))


@pytest.mark.parametrize(
    ("cube", "changes", "reward", "success"),
    [
        ((0.05, 0.1, 0.02), {"tcp": (0.05, 0.1, 0.12)}, fall(0.1), False),
        # 20 cm aside, 2.5 are allowed; 2 cm below its place, should be 4 above it
        ((0.05, 0.1, 0.02), HELD, 2 + fall(0.175 + 0.06), False),
        ((0.05, 0.1, 0.08), HELD, 2 + fall(0.175), False),
        ((0.05, 0.1, 0.2), HELD, 2 + fall(0.175), False),
        # 3.75 cm aside, half of the way to where it need not be above: 1 of the 2 cm that it should be
        ((0.05, -0.0625, 0.05), HELD, 2 + fall(0.0125 + 0.01), False),
        ((0.05, -0.076, 0.08), HELD, 3 + fall(0.04), False),
        # in place: a quarter of the way open, then free, then still
        ((0.05, -0.076, 0.044), {"fingers": 0.02, **HELD}, 5.25, False),
        ((0.05, -0.076, 0.044), {"speed": FAST}, 6 + fall(0.5), False),
        ((0.05, -0.076, 0.044), {"speed": (0.19,) * 6}, 8, True),
        ((0.05, -0.074, 0.044), {}, 1, False),
        ((0.05, -0.1, 0.046), {}, 1, False),
        ((0.05, -0.1, 0.034), {}, 1, False),
    ],
)
def test_pick_place_cube_pays(cube, changes, reward, success):
    assert place(cube, **changes) == (pytest.approx(reward, abs=1e-5), success)


def test_pick_place_cube_pays_more_at_every_stage():
    start = (0.05, 0.1, 0.02)
    way = [
        place(start, tcp=(0, 0, 0.17)),
        place(start, tcp=(0.05, 0.1, 0.1)),
        place(start),
        place(start, fingers=0.02, **HELD),
        *(place((0.05, y, z), fingers=0.02, **HELD) for y, z in ((0.1, 0.05), (0.1, 0.09), (0, 0.09), (-0.07, 0.09))),
        *(place((0.05, y, z), fingers=0.02, **HELD) for y, z in ((-0.08, 0.08), (-0.09, 0.06), (-0.09, 0.04))),
        place((0.05, -0.09, 0.04), fingers=0.024, **HELD),
        place((0.05, -0.09, 0.04), fingers=0.04, speed=(2.0,) * 6),
        place((0.05, -0.09, 0.04), tcp=(0.05, -0.09, 0.12), speed=FAST),
        place((0.05, -0.09, 0.04), tcp=(0.05, -0.09, 0.12)),
    ]
    rewards = [reward for reward, _ in way]
    assert (np.diff(rewards) > 0).all(), rewards
    assert [success for _, success in way] == [False] * (len(way) - 1) + [True]


def test_the_tool_begins_near_and_the_cube_far():
    begun = placements("PullCubeTool-v1").pose
    tool, cube = begun["l_shape_tool"], begun["cube"]
    for values, low, high in ((tool[:, 0], -0.3, -0.1), (tool[:, 1], -0.3, -0.1)):
        check_uniform(values, low, high)
    for values, low, high in ((cube[:, 0], 0.05, 0.25), (cube[:, 1], -0.25, 0.05)):
        check_uniform(values, low, high)
    check_uniform(yaws(cube), -np.pi / 6, np.pi / 6)
    np.testing.assert_array_equal(yaws(tool), 0.0)
    np.testing.assert_allclose((tool[:, 2], cube[:, 2]), 0.025, atol=1e-7)


def test_the_peg_begins_before_the_hole():
    begun = placements("PegInsertionSide-v1")
    peg, hole = begun.pose["peg"], begun.pose["box_with_hole"]
    check_uniform(peg[:, 0], -0.1, 0.1)
    check_uniform(peg[:, 1], -0.3, 0.0)
    check_uniform(yaws(peg), np.pi / 6, 5 * np.pi / 6)
    check_uniform(yaws(hole), np.pi / 2 - np.pi / 8, np.pi / 2 + np.pi / 8)
    np.testing.assert_allclose(peg[:, 2], 0.02, atol=1e-7)
    np.testing.assert_allclose(hole[:, 2], 0.105, atol=1e-7)
    # the box within 5 and 10 cm of (0, 0.3), the hole up to 4.25 cm across it, which is at most pi / 8 off the x axis
    assert 0.08 < np.abs(hole[:, 0]).max() <= 0.05 + 0.0425
    assert 0.1 < np.abs(hole[:, 1] - 0.3).max() <= 0.1 + 0.0425 * math.sin(math.pi / 8)
    # variances (b - a)^2 / 12 of both, the second one's share in x is the mean of cos^2 up to pi / 8: 0.95
    assert hole[:, 0].std() == pytest.approx(math.sqrt((0.1**2 + 0.95 * 0.085**2) / 12), rel=0.07)
    np.testing.assert_allclose(begun.goal["peg_half_size"], np.tile([0.105, 0.02, 0.02], (500, 1)))
    np.testing.assert_allclose(begun.goal["box_hole_radius"], 0.023, atol=1e-7)


def test_the_pedestal_is_away_from_the_cube():
    begun = placements("PickPlaceCube-v1")
    cube, pedestal, goal = begun.pose["cube"], begun.pose["pedestal"], begun.goal["goal_pos"]
    for values in (cube[:, 0], cube[:, 1], goal[:, 0]):
        check_uniform(values, -0.1, 0.1)
    check_uniform(yaws(cube), -np.pi, np.pi)
    apart = np.hypot(*(goal - cube[:, :3])[:, :2].T)
    assert 0.12 - 1e-5 <= apart.min() < 0.125
    assert -0.2 <= goal[:, 1].min() < -0.19 and 0.19 < goal[:, 1].max() <= 0.2
    # as often to the left as to the right: of 500, the share's standard error is 2.2 %
    assert np.mean(goal[:, 1] > cube[:, 1]) == pytest.approx(0.5, abs=0.08)
    np.testing.assert_array_equal(goal[:, :2], pedestal[:, :2])
    np.testing.assert_allclose((cube[:, 2], goal[:, 2]), 0.02, atol=1e-7)


@pytest.mark.parametrize(
    ("task", "body", "mass"),
    [
        (
            "PullCubeTool-v1",
            "l_shape_tool",
            0.5,
        ),  # 20 x 5 x 5 cm at half of water's density, 5 x 10 x 5 cm at all of it
        ("PegInsertionSide-v1", "peg", 0.336),  # 21 x 4 x 4 cm of water's density
    ],
)
def test_bodies_weigh_what_they_do_in_maniskill(task, body, mass):
    assert build(load(task).scene).mujoco.body(body).mass[0] == pytest.approx(mass, rel=1e-3)


def test_the_box_has_a_square_hole_that_is_wider_than_the_peg_by_the_clearance():
    walls = load("PegInsertionSide-v1").scene.bodies[1].shapes
    inner, outer = [], []
    for wall in walls:
        axis = int(np.argmax(np.abs(wall.position)))  # in which it is beside the hole
        inner.append((axis, np.sign(wall.position[axis]), abs(wall.position[axis]) - wall.size[axis]))
        outer.append(abs(wall.position[axis]) + wall.size[axis])
        assert wall.size[0] == 0.105 and wall.size[3 - axis] == 0.105  # as deep and as wide as the box
    assert sorted((axis, side) for axis, side, _ in inner) == [(1, -1), (1, 1), (2, -1), (2, 1)]
    np.testing.assert_allclose([gap for *_, gap in inner], 0.02 + 0.003, atol=1e-9)
    np.testing.assert_allclose(outer, 0.105, atol=1e-9)


@pytest.mark.slow
def test_pushing_does_not_bring_the_cube_onto_the_pedestal():
    """The script that rolls balls gets behind the cube and drives it against the pedestal."""
    env = TabletopEnv("PickPlaceCube-v1", engine="c", end_on_success=False)
    layout, none = env.spec.layout["state"], Error(jnp.zeros(3), jnp.zeros(3), jnp.zeros(()))

    def act(state):
        fields = {name: state[slice(*layout[name])] for name in ("tcp_pose", "goal_pos", "obj_pose")}
        aim = roll_ball.TASK.aim({**fields, "ball_pose": fields["obj_pose"]}, none)
        return action_of(aim, fields["tcp_pose"], env.spec.contract, 0.0, 1.0)

    def step(state, _):
        before = state.observation["state"]
        state, result = vector_step(env, state, jax.vmap(act)(before))
        way = [before[:, slice(*layout[name])][:, :2] for name in ("obj_pose", "goal_pos")]
        return state, (result.success, jnp.linalg.norm(way[0] - way[1], axis=-1))

    state = vector_reset(env, jnp.arange(32, dtype=jnp.uint32), jnp.zeros(32, jnp.int32))
    success, apart = jax.jit(lambda state: jax.lax.scan(step, state, None, length=60)[1])(state)
    # the pedestal's half edge is 4.5 cm and the cube's 2 cm: many came up against it
    assert float((apart.min(axis=0) < 0.07).mean()) > 0.3
    assert not success.any()
