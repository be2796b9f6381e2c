"""Which frames a picture puts the parts of a scene in."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from rpd_jax.envs.tabletop import hand
from rpd_jax.envs.tabletop.picture import make_picture
from rpd_jax.envs.tabletop.scene import Camera, Marker, Scene, Shape, cube
from rpd_jax.envs.tabletop.task import View

# Looks along -x, +y to the right. With tan(fov / 2) = 0.1625 a picture of 65 pixels has 32.5 / 0.1625 = 200 pixels
# per unit of tan(angle off the axis).
SIZE, MIDDLE = 65, 32
CAMERA = Camera(eye=(1.0, 0.0, 0.3), target=(0.0, 0.0, 0.3), fov=2 * math.atan(0.1625))
BALL = Shape("sphere", (0.03,), (0.0, 0.8, 0.0), position=(0.0, 0.05, 0.0), collide=False)
SCENE = Scene(bodies=(cube("cube", (0.8, 0.0, 0.0)),), markers=(Marker("goal", (BALL,)),))
render = jax.jit(make_picture(SCENE, CAMERA, SIZE))
render_posed = jax.jit(make_picture(SCENE, CAMERA, SIZE))


def pose(*position):
    return jnp.array([*position, 1.0, 0.0, 0.0, 0.0])


def view(tcp=(0.0, 0.0, 5.0), fingers=(0.0, 0.0), cube=(0.0, 0.0, 9.0), goal=(0.0, 0.0, 9.0)):
    """A hand that points down, and everything that is not named out of the picture."""
    down = jnp.array([*tcp, 0.0, 1.0, 0.0, 0.0])
    nothing = jnp.zeros(6)
    return View(
        tcp=down,
        joint_speed=nothing,
        fingers=jnp.array(fingers),
        pose={"cube": pose(*cube)},
        velocity={"cube": nothing},
        grasped={"cube": jnp.zeros((), bool)},
        goal={"goal": jnp.array(goal)},
    )


EMPTY = np.asarray(render(view()))


def drawn(picture):
    """Columns of the middle row that differ from the empty picture."""
    return np.flatnonzero((np.asarray(picture) != EMPTY).any(-1)[MIDDLE])


def test_each_finger_is_drawn_at_its_own_side():
    # Pads 8 mm thick at the tool centre point's height. Their near faces, which end them outwards, are 0.99 m from the
    # eye: 202 pixels a metre; their far edges, which end them inwards, 1.01 m: 198 pixels a metre.
    # The hand points down about x, so that its +y, where the first finger is, is the world's -y: left.
    at = (0.0, -0.002, 0.3)  # off the middle, lest an edge be at a pixel's centre
    # Shut: from -10 to 6 mm, -2.02 to 1.2 pixels.
    np.testing.assert_array_equal(drawn(render(view(at))), MIDDLE + np.arange(-2, 2))
    # First finger open by 40 mm: from -50 to -42 mm, -10.1 to -8.3 pixels; the other from -2 to 6 mm, -0.4 to 1.2.
    found = drawn(render(view(at, fingers=(0.04, 0.0))))
    np.testing.assert_array_equal(found, MIDDLE + np.array([-10, -9, 0, 1]))
    # The other one: from 38 to 46 mm, 7.5 to 9.3 pixels.
    found = drawn(render(view(at, fingers=(0.0, 0.04))))
    np.testing.assert_array_equal(found, MIDDLE + np.array([-2, -1, 8, 9]))


def test_the_palm_is_above_the_fingers():
    picture = np.asarray(render(view(tcp=(0.0, 0.0, 0.3 - 0.076))))  # the palm's middle at the camera's height
    # 0.2 m wide, its face 0.968 m from the eye: 0.1 / 0.968 * 200 = 20.7 pixels to both sides
    np.testing.assert_array_equal(drawn(picture), MIDDLE + np.arange(-20, 21))


def test_a_body_is_drawn_at_its_pose():
    # centre at y = 0.1, half edge 0.02: from 0.08 / 1.02 (the far edge) to 0.12 / 0.98, times 200: 15.7 to 24.5
    np.testing.assert_array_equal(drawn(render(view(cube=(0.0, 0.1, 0.3)))), MIDDLE + np.arange(16, 25))


def test_a_marker_is_drawn_at_its_goal_be_it_a_position_or_a_pose():
    # ball 5 cm to the right of the goal, radius 3 cm, a metre away: tan(2.86 degrees -+ asin(0.03 / sqrt(1.0025)))
    # = tan(2.8624 -+ 1.7170 degrees) = 0.01999, 0.08010, times 200: 4.0 to 16.02
    at = drawn(render(view(goal=(0.0, 0.0, 0.3))))
    assert abs(at[0] - (MIDDLE + 4)) <= 1 and at[-1] == MIDDLE + 16
    turned = view(goal=(0.0, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0))
    np.testing.assert_array_equal(render_posed(turned), render(view(goal=(0.0, 0.0, 0.3))))
    half_turn = view(goal=(0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0))  # about z: the ball is to the left
    np.testing.assert_array_equal(drawn(render_posed(half_turn)), 2 * MIDDLE - at[::-1])


def test_the_hand_is_drawn_with_what_does_not_collide_too():
    arm = hand.PALM_SHAPES[-1]
    assert arm.kind == "cylinder" and not arm.collide
    picture = render(view(tcp=(0.0, 0.0, 0.05)))  # the picture's middle is 0.25 above the tool
    half = math.floor(200 * math.tan(math.asin(arm.size[0])))  # the tangents to the arm, from a metre
    np.testing.assert_array_equal(drawn(picture), MIDDLE + np.arange(-half, half + 1))
