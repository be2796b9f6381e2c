"""Image augmentation: what it does to simple pictures, and what it leaves alone."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from teachers.octo.finetune.augment import Draw, apply, augment, crop, draw, recolour
from teachers.octo.finetune.settings import AugmentSettings

NOTHING = Draw(*(jnp.asarray(x, jnp.float32) for x in ([0, 0], [1, 1], 0, 1, 1, 0)))

SETTINGS = AugmentSettings()
jitted = jax.jit(apply)
jitted_augment = jax.jit(lambda batch, key: augment(batch, key, SETTINGS))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_nothing_drawn_changes_nothing(picture):
    np.testing.assert_array_equal(jitted(jnp.asarray(picture), NOTHING), picture)


def test_a_crop_of_the_upper_left_quarter():
    """Rows 0..3 of 8 spread over 8: sampled at -0.25, 0.25, 0.75, ... ; of a ramp with value = row, clamped at 0."""
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (8, 8, 3))
    found = crop(ramp, jnp.array([0.0, 0.0]), jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(found[:, 3, 1], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25], atol=1e-5)


def test_a_crop_moves_by_its_corner():
    """The lower half: rows 4..7, sampled at 3.75, 4.25, ..., 7.25 (clamped to 7)."""
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (8, 8, 3))
    found = crop(ramp, jnp.array([0.5, 0.0]), jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(found[:, 0, 0], [3.75, 4.25, 4.75, 5.25, 5.75, 6.25, 6.75, 7.0], atol=1e-5)


def test_colours_against_the_standard_library():
    """Hue and saturation in HSV; saturation ends at 1, and grey, black and white have no hue."""
    colours = np.random.default_rng(0).random((60, 3))
    colours = np.concatenate([colours, np.eye(3), 1 - np.eye(3), [[0.5] * 3, [0.0] * 3, [1.0] * 3]])
    for factor, turn in ((0.9, 0.05), (1.3, -0.4), (1.0, 0.0)):
        hsv = [colorsys.rgb_to_hsv(*colour) for colour in colours]
        expected = [colorsys.hsv_to_rgb((h + turn) % 1, min(s * factor, 1), v) for h, s, v in hsv]
        found = recolour(jnp.asarray(colours, jnp.float32), jnp.float32(factor), jnp.float32(turn))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_brightness_and_contrast_by_hand():
    """Half of a channel is 0.2 and half 0.6: mean 0.4, so a contrast of 1.1 gives 0.18 and 0.62."""
    image = jnp.array([[[51] * 3, [153] * 3]], jnp.uint8)
    found = jitted(image, NOTHING._replace(contrast=jnp.float32(1.1)))
    np.testing.assert_allclose(found[0, :, 0] / 255, [0.18, 0.62], atol=0.5 / 255)
    found = jitted(image, NOTHING._replace(brightness=jnp.float32(-0.3)))
    np.testing.assert_allclose(found[0, :, 0] / 255, [0.0, 0.3], atol=0.5 / 255)


def test_draws_stay_in_their_ranges():
    found = jax.jit(jax.vmap(lambda key: draw(key, SETTINGS)))(jax.random.split(jax.random.key(0), 2000))
    area, ratio = found.size.prod(axis=1), found.size[:, 1] / found.size[:, 0]
    # where a side would exceed 1 it is cut, which only lowers the area and moves the ratio towards 1
    assert area.min() > 0.8 / 1.1 and area.max() <= 1
    assert ratio.min() >= 0.9 - 1e-6 and ratio.max() <= 1.1 + 1e-6
    assert jnp.all(found.corner >= 0) and jnp.all(found.corner + found.size <= 1 + 1e-6)
    assert 0.09 < jnp.abs(found.brightness).max() <= 0.1
    assert 0.045 < jnp.abs(found.hue).max() <= 0.05


def batch(picture: np.ndarray) -> dict:
    frames = np.broadcast_to(picture, (2, 2, 8, 8, 3))
    mask = np.array([[False, True], [True, True]])
    return {
        "observation": {
            "image_primary": jnp.asarray(frames),
            "timestep_pad_mask": jnp.asarray(mask),
            "pad_mask_dict": {"image_primary": jnp.ones((2, 2), bool)},
        },
        "task": {
            "image_primary": jnp.asarray(frames[:, 0]),
            "pad_mask_dict": {"image_primary": jnp.array([True, False])},
        },
        "action": jnp.zeros((2, 2, 4, 7)),
    }


def test_padding_is_left_alone_and_the_goal_changes_with_its_frames(picture):
    changed = jitted_augment(batch(picture), jax.random.key(1))
    frames, goals = changed["observation"]["image_primary"], changed["task"]["image_primary"]
    assert frames.dtype == jnp.uint8
    np.testing.assert_array_equal(frames[0, 0], picture)
    np.testing.assert_array_equal(goals[1], picture)
    assert np.any(frames[0, 1] != picture)
    np.testing.assert_array_equal(frames[0, 1], goals[0])
    np.testing.assert_array_equal(frames[1, 0], frames[1, 1])
    assert np.any(frames[0, 1] != frames[1, 1])  # each window has its own draw


def test_the_same_key_gives_the_same_pictures(picture):
    one, two, other = (
        jitted_augment(batch(picture), jax.random.key(seed))["observation"]["image_primary"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert np.any(one != other)
