"""Octo as a teacher: frames in, labels out."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arm_spec import arm_spec

from rpd_jax.envs.base import ArraySpec
from rpd_jax.instructions import Instructions
from teachers.base import load
from teachers.conventions import CONTRACT_FILE, CONTRACTS, MANISKILL_EE
from teachers.octo.teacher import OctoTeacher
from teachers.octo.text import VOCABULARY_FILE
from teachers.sampling import Sampling
from teachers.trained_on import TRAINED_ON_FILE

ENV = arm_spec(
    name="tabletop:PickCube-v1",
    instruction="pick up the cube",
    max_episode_steps=50,
    observation={"state": ArraySpec((3,), "float32"), "rgb": ArraySpec((32, 32, 3), "uint8")},
    layout={"state": {}},
    contract=MANISKILL_EE,
    frame_shape=(32, 32, 3),
)

ROUNDING = 1e-3  # of equal computations in other batches: the first reverse step multiplies errors by 31.6


def teacher_of(octo, **settings):
    return OctoTeacher(octo, ENV, contract="maniskill", **settings)


def test_names_that_have_moved_warn():
    with pytest.warns(DeprecationWarning, match=r"teachers.octo.OctoTeacher has moved to teachers.octo.teacher"):
        from teachers.octo import OctoTeacher as former
    assert former is OctoTeacher


def frames(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def test_labels_are_the_first_actions_of_the_chunks(octo, observation):
    teacher = teacher_of(octo)
    labels = teacher.label({"rgb": observation["image_primary"]}, "push the ball", jax.random.key(3))
    task = octo.create_task(["push the ball"] * 3)
    expected = octo.sample_actions(observation, task, jax.random.key(3))[0]
    chunks = teacher.label_chunk({"rgb": observation["image_primary"]}, "push the ball", jax.random.key(3))
    np.testing.assert_allclose(chunks.action, expected, atol=ROUNDING)
    assert chunks.valid.shape == (3, 4) and teacher.spec.chunk == 4
    jax.tree.map(np.testing.assert_array_equal, labels, chunks.first())
    assert labels.valid.all() and labels.std.shape == (3, 7)
    assert teacher.spec.samples_actions
    assert teacher.spec.history == 2 and teacher.spec.contract == MANISKILL_EE and teacher.spec.in_graph


def test_several_draws_give_their_mean_and_standard_deviation(octo, observation):
    sampling = Sampling(samples=8, min_std=1e-3)
    labels = teacher_of(octo, sampling=sampling).label_chunk(
        {"rgb": observation["image_primary"]}, "push the ball", jax.random.key(3)
    )
    task = octo.create_task(["push the ball"] * 3)
    draws = octo.sample_actions(observation, task, jax.random.key(3), samples=8)
    np.testing.assert_allclose(labels.action, draws.mean(axis=0), atol=ROUNDING)
    np.testing.assert_allclose(labels.std, jnp.maximum(draws.std(axis=0), 1e-3), atol=ROUNDING)


def test_it_can_be_traced_into_a_program(octo, observation):
    teacher = teacher_of(octo)
    images = {"rgb": jnp.asarray(observation["image_primary"])}
    inside = jax.jit(lambda images, key: teacher.label(images, "pick up the cube", key))(images, jax.random.key(0))
    outside = teacher.label(images, "pick up the cube", jax.random.key(0))
    np.testing.assert_allclose(inside.action, outside.action, atol=ROUNDING)


def test_each_frame_may_have_an_instruction_of_its_own(octo, observation):
    """Two in one batch give what a batch of each gives; also traced, with the index as an argument."""
    teacher, images, key = teacher_of(octo), {"rgb": jnp.asarray(observation["image_primary"])}, jax.random.key(0)
    texts = ("pick up the cube", "push the ball")
    of_each = [teacher.label(images, text, key).action for text in texts]
    index = np.array([1, 0, 1], np.int32)
    expected = np.where(index[:, None] == 0, *of_each)
    assert np.abs(of_each[0] - of_each[1]).max(axis=1).min() > 10 * ROUNDING
    traced = jax.jit(teacher.label)
    for label in (teacher.label, traced):
        labels = label(images, Instructions(texts, index), key)
        np.testing.assert_allclose(labels.action, expected, atol=ROUNDING)
    traced(images, Instructions(texts, 1 - index), key)
    assert traced._cache_size() == 1  # which row has which text is no matter of compilation
    with pytest.raises(ValueError, match=r"instructions.index has shape \(2,\): need \(3,\)"):
        teacher.label(images, Instructions(texts, index[:2]), key)


def test_no_environment_is_needed(octo, observation, tmp_path):
    octo.save(tmp_path / "tiny", 0, {VOCABULARY_FILE: octo.text.to_json().encode()})
    free = load("octo", path=str(tmp_path / "tiny"), contract="maniskill")
    images = {"rgb": observation["image_primary"]}
    labels, expected = (t.label(images, "push the ball", jax.random.key(0)) for t in (free, teacher_of(octo)))
    np.testing.assert_allclose(labels.action, expected.action, atol=ROUNDING)


def test_batches_do_not_matter(octo, monkeypatch):
    """An embedding is a function of its own frames; 5 frames in passes of 2."""
    images = frames(1, 5, 2, 32, 32, 3)
    whole = teacher_of(octo).label({"rgb": images}, "push the ball", jax.random.key(0))
    monkeypatch.setattr("teachers.octo.teacher.FRAMES_AT_ONCE", 2)
    parts = teacher_of(octo).label({"rgb": images}, "push the ball", jax.random.key(0))
    np.testing.assert_allclose(whole.action, parts.action, atol=ROUNDING)


def test_a_repeated_first_frame_is_padding(octo):
    """What stands in for the past at the beginning of an episode is masked, as in training."""
    image = frames(2, 1, 1, 32, 32, 3)
    labels = teacher_of(octo).label({"rgb": jnp.tile(image, (1, 2, 1, 1, 1))}, "push the ball", jax.random.key(0))
    masked = {"image_primary": jnp.tile(image, (1, 2, 1, 1, 1)), "timestep_pad_mask": np.array([[False, True]])}
    task = octo.create_task(["push the ball"])
    expected = octo.sample_actions(masked, task, jax.random.key(0))[0, :, 0]
    np.testing.assert_allclose(labels.action, expected, atol=ROUNDING)
    real = {**masked, "timestep_pad_mask": np.ones((1, 2), bool)}
    assert float(jnp.abs(octo.sample_actions(real, task, jax.random.key(0))[0, :, 0] - expected).max()) > 1e-4


def test_frames_of_another_size_are_resized(octo):
    """Each pixel doubled, then halved again by an antialiased filter: a smooth picture survives."""
    ramp = jnp.broadcast_to(jnp.arange(0, 256, 8, dtype=jnp.uint8)[None, :, None], (32, 32, 3))
    small = jnp.stack([jnp.roll(ramp, 1, axis=0), ramp])[None]
    large = jnp.repeat(jnp.repeat(small, 2, axis=2), 2, axis=3)
    teacher = teacher_of(octo)
    one, other = (teacher.label({"rgb": x}, "push the ball", jax.random.key(0)).action for x in (small, large))
    np.testing.assert_allclose(one, other, atol=0.15)


def test_impossible_settings_are_named(octo):
    with pytest.raises(ValueError, match="contract='mars' is unknown: choose from"):
        OctoTeacher(octo, ENV, contract="mars")
    with pytest.raises(ValueError, match=CONTRACT_FILE):
        OctoTeacher(octo, ENV)
    with pytest.raises(ValueError, match="camera='wrist' is unknown: the model has image_primary"):
        OctoTeacher(octo, ENV, contract="maniskill", camera="wrist")
    with pytest.raises(ValueError, match="has no frames"):
        OctoTeacher(octo, dataclasses.replace(ENV, frame_shape=None), contract="maniskill")
    with pytest.raises(ValueError, match="2 frames each"):
        teacher_of(octo).label({"rgb": frames(0, 3, 1, 32, 32, 3)}, "push the ball", jax.random.key(0))


def test_by_name_from_a_checkpoint_that_brings_its_contract(octo, tmp_path):
    contract = json.dumps(dataclasses.asdict(CONTRACTS["juelg_octo"])).encode()
    octo.save(tmp_path / "tiny", 0, {VOCABULARY_FILE: octo.text.to_json().encode(), CONTRACT_FILE: contract})
    teacher = load("octo", ENV, path=str(tmp_path / "tiny"), samples=2)
    assert teacher.spec.contract == CONTRACTS["juelg_octo"] and teacher.spec.name == "octo:tiny"
    assert len(teacher.spec.checkpoint) == 16
    (tmp_path / "tiny" / CONTRACT_FILE).write_text('{"frame": "base"')
    with pytest.raises(ValueError, match=r"action_contract\.json is no action contract"):
        load("octo", ENV, path=str(tmp_path / "tiny"))
    with pytest.raises(ValueError, match=r"teacher\.path is empty"):
        load("octo", ENV)


def test_what_it_cannot_read_and_was_not_trained_on_is_said_at_the_start(octo, tmp_path, caplog):
    trained_on = {"environments": [], "control_modes": [], "cameras": [], "image_sizes": [64], "instructions": []}
    files = {VOCABULARY_FILE: octo.text.to_json().encode(), TRAINED_ON_FILE: json.dumps(trained_on).encode()}
    octo.save(tmp_path / "tiny", 0, files)
    spec = dataclasses.replace(ENV, instruction="grab it")
    load("octo", spec, path=str(tmp_path / "tiny"), contract="maniskill")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "octo:tiny was trained with frames of 64 pixels; this environment's have 32",
        "the instruction 'grab it' cannot be read at all: the model knows none of its words",
    ]
    with pytest.raises(ValueError, match="no text processor"):
        teacher_of(dataclasses.replace(octo, text=None))
