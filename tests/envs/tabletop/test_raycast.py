"""The ray-caster: intersections found by hand, then pictures whose pixels are known.

Pictures are of an odd number of pixels, so that the middle one looks along the camera's axis. With tan(fov / 2) = 0.5
a picture of S pixels has S pixels per unit of tan(angle off the axis).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.envs.tabletop import backdrop, intersect, raycast
from rpd_jax.envs.tabletop.raycast import Part, make_renderer
from rpd_jax.envs.tabletop.scene import Camera, Shape, target_disc

FOV = 2 * math.atan(0.5)
ABOVE = Camera(eye=(0.0, 0.0, 3.0), target=(0.0, 0.0, 0.0), fov=FOV)  # +x is up in the picture, +y left
SIDE = Camera(eye=(1.0, 0.0, 0.5), target=(0.0, 0.0, 0.5), fov=FOV)  # looks along -x: +y is right
AWAY = (0.0, 0.0, 9.0)  # above the camera, out of every picture
RED, GREEN = (0.8, 0.0, 0.0), (0.0, 0.8, 0.0)
# what faces up in full light: sqrt(0.25 + 0.25 * 0.5 * (1 + 0.8081) + 0.6 * 0.9196) = sqrt(1.02777)
TOP = 1.01379
SIZE = 61


def part(kind, size, color=RED, frame=0, **rest):
    return Part(Shape(kind, size, color, **rest), frame)


def pose(position=(0.0, 0.0, 0.0), quaternion=(1.0, 0.0, 0.0, 0.0)):
    return jnp.array([*position, *quaternion], jnp.float32)


def draw(parts, poses, camera=ABOVE, size=SIZE):
    return np.asarray(jax.jit(make_renderer(parts, camera, size))(jnp.stack(poses)))


def is_painted(picture, channel=0):
    """Where a picture shows one pure channel; the empty scene has all three everywhere."""
    others = [c for c in range(3) if c != channel]
    return (picture[..., others] == 0).all(-1) & (picture[..., channel] > 0)


# size, origin, direction, near, far, normal where the ray enters
HITS = {
    "box, straight": ("box", (0.5, 0.5, 0.5), (2.0, 0.1, -0.05), (-1.0, 0.0, 0.0), 1.5, 2.5, (1, 0, 0)),
    # x: (3 -+ 0.5) / 0.6 = 4.1667, 5.8333; y: (4 -+ 0.9) / 0.8 = 3.875, 6.125; so in and out through x
    "box, oblique": ("box", (0.5, 0.9, 1.0), (3.0, 4.0, 0.0), (-0.6, -0.8, 0.0), 2.5 / 0.6, 3.5 / 0.6, (1, 0, 0)),
    "box, from below": ("box", (0.5, 0.5, 0.1), (0.2, 0.3, -1.0), (0.0, 0.0, 1.0), 0.9, 1.1, (0, 0, -1)),
    # 0.3 aside the half chord is sqrt(0.5^2 - 0.3^2) = 0.4, and the normal (0.4, 0.3) / 0.5
    "sphere": ("sphere", (0.5,), (2.0, 0.3, 0.0), (-1.0, 0.0, 0.0), 1.6, 2.4, (0.8, 0.6, 0)),
    "cylinder, side": ("cylinder", (0.5, 1.0), (2.0, 0.3, 0.5), (-1.0, 0.0, 0.0), 1.6, 2.4, (0.8, 0.6, 0)),
    "cylinder, end": ("cylinder", (0.5, 1.0), (0.1, 0.2, 3.0), (0.0, 0.0, -1.0), 2.0, 4.0, (0, 0, 1)),
    "cylinder, lower end": ("cylinder", (0.5, 1.0), (0.1, 0.2, -3.0), (0.0, 0.0, 1.0), 2.0, 4.0, (0, 0, -1)),
    "capsule, side": ("capsule", (0.5, 1.0), (2.0, 0.3, 0.5), (-1.0, 0.0, 0.0), 1.6, 2.4, (0.8, 0.6, 0)),
    # 0.3 off the axis the cap about z = 1 is 0.4 higher than its centre
    "capsule, cap": ("capsule", (0.5, 1.0), (0.3, 0.0, 3.0), (0.0, 0.0, -1.0), 1.6, 4.4, (0.6, 0, 0.8)),
    "capsule, lower cap": ("capsule", (0.5, 1.0), (0.3, 0.0, -3.0), (0.0, 0.0, 1.0), 1.6, 4.4, (0.6, 0, -0.8)),
}


@pytest.mark.parametrize("name", HITS)
def test_a_ray_enters_and_leaves_where_geometry_says(name):
    kind, size, origin, direction, near, far, unit = HITS[name]
    origin, direction = (tuple(jnp.asarray(x, jnp.float32) for x in v) for v in (origin, direction))
    ray = intersect.make_ray(origin, direction)
    found = intersect.interval(kind, size, ray)
    np.testing.assert_allclose(found, (near, far), atol=1e-5)
    point = tuple(o + near * d for o, d in zip(origin, direction, strict=True))
    np.testing.assert_allclose(intersect.normal(kind, size, point), unit, atol=1e-6)


MISSES = {
    "box": ("box", (0.5, 0.5, 0.5), (2.0, 0.6, 0.0), (-1.0, 0.0, 0.0)),
    "sphere": ("sphere", (0.5,), (2.0, 0.4, 0.4), (-1.0, 0.0, 0.0)),  # 0.566 from the centre
    "cylinder, beyond its end": ("cylinder", (0.5, 1.0), (2.0, 0.0, 1.1), (-1.0, 0.0, 0.0)),
    # out of the tube at x = 0.5 after 0.83, down at the end's z = 1 after 1.25
    "cylinder, past its edge": ("cylinder", (0.5, 1.0), (0.0, 0.0, 2.0), (0.6, 0.0, -0.8)),
    "cylinder, along its axis": ("cylinder", (0.5, 1.0), (0.6, 0.0, 2.0), (0.0, 0.0, -1.0)),
    # inside the tube, but sqrt(0.3^2 + 0.45^2) = 0.54 from the centre of the cap
    "capsule, past its cap": ("capsule", (0.5, 1.0), (2.0, 0.3, 1.45), (-1.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", MISSES)
def test_a_ray_misses_where_geometry_says(name):
    kind, size, origin, direction = MISSES[name]
    origin, direction = (tuple(jnp.asarray(x, jnp.float32) for x in v) for v in (origin, direction))
    near, far = intersect.interval(kind, size, intersect.make_ray(origin, direction))
    assert near >= far


def test_colours_are_those_of_the_light():
    picture = draw([part("box", (0.2, 0.2, 0.2), (0.5, 0.25, 0.125))], [pose()])
    # 255 * 0.5 * TOP = 129.26, 64.63, 32.31
    np.testing.assert_array_equal(picture[SIZE // 2, SIZE // 2], [129, 65, 32])


def test_a_side_away_from_the_sun_has_only_the_sky():
    picture = draw([part("box", (0.2, 0.2, 0.2), (0.5, 0.25, 0.125))], [pose((-0.5, 0.0, 0.5))], SIDE)
    lit = picture[SIZE // 2, SIZE // 2]
    # +x: sqrt(0.25 + 0.125 * (1 - 0.3030) + 0.6 * 0.3678) = 0.74671, times 127.5
    np.testing.assert_allclose(lit[0], 95.2, atol=0.5)
    back = Camera(eye=(-1.0, 0.0, 0.5), target=(0.0, 0.0, 0.5), fov=FOV)
    picture = draw([part("box", (0.2, 0.2, 0.2), (0.5, 0.25, 0.125))], [pose((0.5, 0.0, 0.5))], back)
    # -x: sqrt(0.25 + 0.125 * (1 + 0.3030)) = 0.64255, times 127.5
    np.testing.assert_allclose(picture[SIZE // 2, SIZE // 2, 0], 81.9, atol=0.5)


def test_a_lit_face_does_not_shade_itself():
    picture = draw([part("box", (0.5, 0.5, 0.2))], [pose((0.0, 0.0, 0.0), (0.9659258, 0.0, 0.0, 0.2588190))])
    painted = is_painted(picture)
    assert painted.sum() > 300
    assert set(picture[painted][:, 0]) == {207}  # 255 * 0.8 * TOP = 206.8


def test_a_sphere_is_as_wide_as_its_tangents():
    picture = draw([part("sphere", (0.3,))], [pose((0.0, 0.0, 0.5))], SIDE, size=101)
    # tangents at tan(asin(0.3)) = 0.31449 off the axis, times 101 pixels: 31.76, so pixels -31 to 31
    painted = is_painted(picture)
    np.testing.assert_array_equal(np.flatnonzero(painted[50]), np.arange(50 - 31, 50 + 32))
    np.testing.assert_array_equal(np.flatnonzero(painted[:, 50]), np.arange(50 - 31, 50 + 32))


def test_frames_turn_and_move_their_parts():
    turned = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))  # 90 degrees about z: the part's x becomes the world's y
    parts = [part("box", (0.3, 0.1, 0.1), position=(0.5, 0.0, 0.0))]
    rows, columns = np.nonzero(is_painted(draw(parts, [pose((0.2, 0.0, 0.0), turned)])))
    # centre at (0.2, 0.5), half edges 0.1 and 0.3, top 2.9 from the eye: 61 / 2.9 = 21.03 pixels a metre
    assert (rows.min(), rows.max()) == (30 - 6, 30 - 3)  # x from 0.1 to 0.3: 2.1 to 6.3 pixels up
    assert (columns.min(), columns.max()) == (30 - 16, 30 - 5)  # y from 0.2 to 0.8: 4.2 to 16.8 pixels left


def test_a_part_is_turned_in_its_frame_and_then_with_it():
    root = math.sqrt(0.5)
    # 90 degrees about x make half edges (0.3, 0.1, 0.2) to (0.3, 0.2, 0.1), then about z to (0.2, 0.3, 0.1)
    turned = part("box", (0.3, 0.1, 0.2), quaternion=(root, root, 0.0, 0.0))
    found = draw([turned], [pose((0.1, 0.2, 0.0), (root, 0.0, 0.0, root))])
    plain = draw([part("box", (0.2, 0.3, 0.1))], [pose((0.1, 0.2, 0.0))])
    np.testing.assert_array_equal(is_painted(found), is_painted(plain))


def test_what_is_behind_is_hidden():
    parts = [part("sphere", (0.2,), RED, 0), part("sphere", (0.1,), GREEN, 1)]
    near, far = pose((0.4, 0.0, 0.5)), pose((-0.4, 0.0, 0.5))
    assert not is_painted(draw(parts, [near, far], SIDE), 1).any()
    assert is_painted(draw(parts, [far, near], SIDE), 1)[SIZE // 2, SIZE // 2]
    assert is_painted(draw(parts, [far, pose((1.5, 0.0, 0.5))], SIDE)).any()  # nothing behind the camera is in the way


# A block a metre up throws its shadow at -SUN_xy / SUN_z = (-0.40, -0.15) on the table, 3 m from the eye:
# 121 / 3 = 40.3 pixels a metre, so 16.1 rows down and 6.05 columns right of the middle.
SHADOW = (60 + 16, 60 + 6)
# sqrt(0.25 + 0.25 * 0.5 * (1 + 0.8081)) / TOP
DARK = 0.68055


@pytest.mark.parametrize("kind, size", [("box", (0.1, 0.1, 0.1)), ("sphere", (0.1,)), ("cylinder", (0.1, 0.1))])
def test_a_shadow_falls_where_the_sun_throws_it(kind, size):
    render = jax.jit(make_renderer([part(kind, size)], ABOVE, 121))
    empty, with_block = np.asarray(render(pose(AWAY)[None])), np.asarray(render(pose((0.0, 0.0, 1.0))[None]))
    np.testing.assert_allclose(with_block[SHADOW], empty[SHADOW] * DARK, atol=1.0)
    mirrored = (60 - 16, 60 - 6)
    np.testing.assert_array_equal(with_block[mirrored], empty[mirrored])
    changed = (with_block != empty).any(-1) & ~is_painted(with_block)
    assert 0 < changed.sum() < 150  # 8 pixels wide, at most stretched by half


def test_thin_and_clear_parts_throw_no_shadow():
    thin, clear = part("box", (0.1, 0.1, 0.0009)), part("sphere", (0.1,), opacity=0.5)
    empty = draw([thin], [pose(AWAY)], size=121)
    for only in (thin, clear):
        np.testing.assert_array_equal(draw([only], [pose((0.0, 0.0, 1.0))], size=121)[SHADOW], empty[SHADOW])


def test_a_clear_part_is_blended_with_what_is_behind():
    parts = [part("box", (0.2, 0.2, 0.01), RED, 0, opacity=0.5), part("box", (0.2, 0.2, 0.01), GREEN, 1)]
    above, below = pose((0.0, 0.0, 1.0)), pose((0.0, 0.0, 0.5))
    # half of 255 * 0.8 * TOP = 206.8 each
    np.testing.assert_allclose(draw(parts, [above, below])[SIZE // 2, SIZE // 2], [103.4, 103.4, 0], atol=1.0)
    np.testing.assert_array_equal(draw(parts, [below, above])[SIZE // 2, SIZE // 2], [0, 207, 0])


def test_flat_rings_on_each_other_keep_their_order():
    camera = Camera(eye=(0.6, 0.7, 0.6), target=(0.0, 0.0, 0.001), fov=FOV)
    rings = [Part(shape, 0) for shape in target_disc("goal", 0.1).shapes]
    picture = draw(rings, [pose((0.0, 0.0, 0.001))], camera, size=257)
    # sqrt(0.36 + 0.49 + 0.3588) = 1.0995 from the eye; the rings are 2 cm wide, and so 4.67 pixels at right angles
    row = picture[128]
    reds, whites = row[[128, 128 + 12, 128 - 12, 128 + 21]], row[[128 + 7, 128 - 7, 128 + 16]]
    np.testing.assert_allclose(reds.mean(0), 255 * TOP * np.array([0.85, 0.1, 0.1]), atol=1.0)
    np.testing.assert_allclose(whites.mean(0), 255 * TOP * np.array([0.95, 0.95, 0.95]), atol=1.0)


def test_a_batch_is_what_single_pictures_are_and_nothing_is_random():
    parts = [part("box", (0.2, 0.1, 0.05)), part("sphere", (0.1,), GREEN, 1, opacity=0.5)]
    keys = jax.random.split(jax.random.key(0), 3)
    poses = jax.vmap(lambda key: jnp.tile(pose(), (2, 1)) + 0.3 * jax.random.uniform(key, (2, 7)))(keys)
    poses = poses.at[..., 3:].divide(jnp.linalg.norm(poses[..., 3:], axis=-1, keepdims=True))
    render = jax.jit(make_renderer(parts, ABOVE, 32))
    single = np.stack([render(one) for one in poses])
    batch = jax.jit(jax.vmap(make_renderer(parts, ABOVE, 32)))
    assert single.dtype == np.uint8 and single.shape == (3, 32, 32, 3)
    # how XLA rounds may differ by a unit, or at an edge by a pixel
    assert (np.abs(single.astype(int) - np.asarray(batch(poses))).max(-1) > 1).mean() < 1e-3
    np.testing.assert_array_equal(batch(poses), batch(poses))
    assert (single[0] != single[1]).any()


def test_the_backdrop_is_table_floor_and_sky():
    down = backdrop.make_backdrop(ABOVE, SIZE)
    np.testing.assert_allclose(down.distance[SIZE**2 // 2], 3.0, atol=1e-6)
    # the corner is off the table: 30 / 61 = 0.4918 off the axis twice, sqrt(1 + 2 * 0.4918^2) = 1.2181 per metre down
    np.testing.assert_allclose(down.distance[0], 1.2181 * (3.0 + 0.92), rtol=1e-4)
    level = backdrop.make_backdrop(SIDE, SIZE)
    assert (level.distance.reshape(SIZE, SIZE)[: SIZE // 2] == backdrop.FAR).all()
    assert (level.distance.reshape(SIZE, SIZE)[SIZE // 2 + 1 :] < 100.0).all()


def test_a_picture_from_straight_above_has_x_upwards_and_y_to_the_left():
    parts = [part("sphere", (0.1,), RED, 0), part("sphere", (0.1,), GREEN, 1)]
    picture = draw(parts, [pose((0.6, 0.0, 0.0)), pose((0.0, 0.6, 0.0))])
    rows, columns = (np.argwhere(is_painted(picture, channel)).mean(0) for channel in (0, 1))
    assert rows[0] < 25 and abs(rows[1] - 30) < 0.6
    assert columns[1] < 25 and abs(columns[0] - 30) < 0.6


def test_constants_of_the_light_are_directions():
    for direction in (raycast.SUN, raycast.SKY):
        assert abs(np.linalg.norm(direction) - 1.0) < 1e-4
