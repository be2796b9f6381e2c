"""A loaded Octo: tasks, observations, samples, saving."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from teachers.octo.model import LANGUAGE, load_octo
from teachers.octo.text import VOCABULARY_FILE


def without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


def test_tasks_in_words(octo):
    task = octo.create_task(["pick up the cube", "push the ball"])
    assert task["image_primary"].shape == (2, 32, 32, 3) and not task["image_primary"].any()
    assert task[LANGUAGE]["input_ids"].shape == (2, 12)
    masks = {name: bool(mask.all()) for name, mask in task["pad_mask_dict"].items()}
    assert masks == {"image_primary": False, "timestep": False, LANGUAGE: True}


def test_tasks_as_goals(octo):
    goal = np.full((1, 32, 32, 3), 9, np.uint8)
    task = octo.create_task(goals={"image_primary": goal})
    assert "timestep" not in task
    masks = {name: bool(mask.all()) for name, mask in task["pad_mask_dict"].items()}
    assert masks == {"image_primary": True, LANGUAGE: False}
    np.testing.assert_array_equal(task[LANGUAGE]["input_ids"][0], [1] + [0] * 11)  # of no words
    both = octo.create_task(["push the ball"], {"image_primary": goal})
    assert all(bool(mask.all()) for mask in both["pad_mask_dict"].values())


def test_impossible_tasks(octo):
    with pytest.raises(ValueError, match="texts or goals: both are missing"):
        octo.create_task()
    with pytest.raises(ValueError, match=r"goals\['image_primary'\] has the shape \(1, 8, 8, 3\)"):
        octo.create_task(goals={"image_primary": np.zeros((1, 8, 8, 3), np.uint8)})
    with pytest.raises(ValueError, match="no text processor"):
        dataclasses.replace(octo, text=None).create_task(["push"])


def test_an_instruction_that_is_encoded_once_gives_the_same(octo, observation):
    task = octo.create_task(["pick up the cube"] * 3)
    encoded = octo.encode_task(task)
    assert encoded[LANGUAGE].shape == (3, 12, 64)
    np.testing.assert_allclose(octo.embed(observation, encoded), octo.embed(observation, task), atol=1e-5)


def test_a_missing_goal_is_a_black_one(octo, observation):
    task = octo.create_task(["pick up the cube"] * 3)
    bare = without(task, "image_primary")
    np.testing.assert_array_equal(octo.embed(observation, bare), octo.embed(observation, task))


def test_the_instruction_matters(octo, observation):
    """Unknown words all look alike; known ones do not."""
    one, other = (
        octo.embed(observation, octo.create_task([text] * 3)) for text in ("pick up the cube", "push the ball")
    )
    assert float(jnp.abs(one - other).max()) > 1e-4


def test_pixels_of_a_padded_frame_do_not_matter(octo, observation):
    task = octo.create_task(["push the ball"] * 3)
    padded = {**observation, "timestep_pad_mask": np.array([[False, True]] * 3)}
    changed = {**padded, "image_primary": observation["image_primary"].copy()}
    changed["image_primary"][:, 0] = 0
    np.testing.assert_allclose(octo.embed(padded, task)[:, 1], octo.embed(changed, task)[:, 1], atol=1e-6)
    unpadded = {**changed, "timestep_pad_mask": np.ones((3, 2), bool)}
    assert float(jnp.abs(octo.embed(unpadded, task)[:, 1] - octo.embed(changed, task)[:, 1]).max()) > 1e-4


def test_samples(octo, observation):
    task = octo.create_task(["push the ball"] * 3)
    key = jax.random.key(0)
    raw = octo.sample_actions(observation, task, key, samples=4, statistics={})
    assert raw.shape == (4, 3, 4, 7) and float(jnp.abs(raw).max()) <= 5.0
    assert len(np.unique(np.asarray(raw).reshape(4, -1), axis=0)) == 4
    np.testing.assert_array_equal(raw, octo.sample_actions(observation, task, key, samples=4, statistics={}))
    actions = octo.sample_actions(observation, task, key, samples=4)
    mean, std = octo.statistics["action"]["mean"], octo.statistics["action"]["std"]
    np.testing.assert_allclose(actions[..., :6], np.asarray(raw)[..., :6] * std[:6] + mean[:6], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(actions[..., 6], raw[..., 6])


def test_unknown_statistics(octo, observation):
    task = octo.create_task(["push the ball"] * 3)
    with pytest.raises(ValueError, match="statistics_key='bridge'"):
        octo.sample_actions(observation, task, jax.random.key(0), statistics_key="bridge")


def test_impossible_observations(octo, observation):
    task = octo.create_task(["push the ball"] * 3)
    with pytest.raises(ValueError, match="lacks timestep_pad_mask"):
        octo.embed(without(observation, "timestep_pad_mask"), task)
    with pytest.raises(ValueError, match="has no image"):
        octo.embed(without(observation, "image_primary"), task)
    large = {**observation, "image_primary": np.zeros((3, 2, 48, 48, 3), np.uint8)}
    with pytest.raises(ValueError, match=r"image_primary has the shape \(3, 2, 48, 48, 3\): the model takes \(3, 2"):
        octo.embed(large, task)
    long = {
        "image_primary": np.zeros((3, 11, 32, 32, 3), np.uint8),
        "timestep_pad_mask": np.ones((3, 11), bool),
    }
    with pytest.raises(ValueError, match="window of 11 frames is longer than the model's max_horizon=10"):
        octo.embed(long, task)


def test_what_is_saved_is_loaded(octo, observation, tmp_path):
    octo.save(tmp_path / "nano", 7, {VOCABULARY_FILE: octo.text.to_json().encode()})
    loaded = load_octo(tmp_path / "nano")
    assert loaded.step == 7 and loaded.window == 2
    assert json.loads((tmp_path / "nano" / "config.json").read_text()) == octo.config
    one, other = (each.create_task(["push the ball"] * 3) for each in (octo, loaded))
    np.testing.assert_array_equal(octo.embed(observation, one), loaded.embed(observation, other))


def test_parameters_that_do_not_fit_are_named(octo, tmp_path):
    params = {**octo.params, "heads_action": {"diffusion_model": {}}}
    files = {VOCABULARY_FILE: octo.text.to_json().encode()}
    dataclasses.replace(octo, params=params).save(tmp_path / "nano", 0, files)
    with pytest.raises(ValueError, match="heads_action/diffusion_model/cond_encoder/Dense_0"):
        load_octo(tmp_path / "nano")


def test_half_precision_is_close(octo, observation, tmp_path):
    octo.save(tmp_path / "nano", 0, {VOCABULARY_FILE: octo.text.to_json().encode()})
    half = load_octo(tmp_path / "nano", dtype=jnp.bfloat16)
    task = octo.create_task(["push the ball"] * 3)
    exact, rounded = octo.embed(observation, task), half.embed(observation, task)
    assert rounded.dtype == jnp.float32
    error = float(jnp.abs(exact - rounded).max() / jnp.abs(exact).max())
    assert 0.0 < error < 0.05  # bfloat16 has 8 bits
