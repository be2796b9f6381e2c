"""Recordings and batches, with episodes whose numbers say where they are from."""

import dataclasses

import numpy as np
import pytest
from made_episodes import made_episode

from rpd_jax.config import ConfigError
from teachers.octo.finetune.data import Windows, iterate, with_instructions
from teachers.octo.finetune.settings import DataSettings
from teachers.recordings import load, resize

SIZES = {"image_primary": 8}


def settings(**values) -> DataSettings:
    return dataclasses.replace(DataSettings(batch_size=4), **values)


def windows(episodes, **values) -> Windows:
    made = settings(**values)
    recordings = load([episodes], made, SIZES)
    return Windows(recordings, np.arange(len(episodes)), made, action_dim=7)


def test_recordings_lie_end_to_end():
    found = load([[made_episode(1, 5), made_episode(2, 3)], [made_episode(3, 4, instruction="")]], settings(), SIZES)
    np.testing.assert_array_equal(found.first_frame, [0, 6, 10])
    np.testing.assert_array_equal(found.first_action, [0, 5, 8])
    np.testing.assert_array_equal(found.source, [0, 0, 1])
    assert found.instructions == ("", "push the cube")
    np.testing.assert_array_equal(found.instruction, [1, 1, 0])
    assert found.images["image_primary"][6 + 2, 0, 0, 0] == 22
    assert found.statistics["num_transitions"] == 12
    # 1.0..1.4 five times, 2.0..2.2 three times, 3.0..3.3 four times: (6 + 6.3 + 12.6) / 12
    assert found.statistics["action"]["mean"][0] == pytest.approx(24.9 / 12)
    assert found.statistics["action"]["mask"] == [True] * 6 + [False]


def test_failures_can_be_left_out():
    found = load([[made_episode(1), made_episode(2)]], settings(successes_only=True), SIZES)
    assert len(found.length) == 1 and found.images["image_primary"][0, 0, 0, 0] == 20


@pytest.mark.parametrize(
    ("episodes", "values", "message"),
    [
        ([], {}, "data holds no episodes"),
        ([made_episode(1)], {"successes_only": True}, "no successful episodes"),
        ([made_episode(1)], {"primary": "front"}, r"data.primary='front' is not recorded .* it has \['rgb'\]"),
        ([made_episode(1), made_episode(2, dims=4)], {}, r"actions of \[4, 7\] dimensions"),
        ([made_episode(1)], {"mask": (True,)}, "data.mask"),
    ],
)
def test_data_that_cannot_work(episodes, values, message):
    with pytest.raises(ConfigError, match=message):
        load([episodes], settings(**values), SIZES)


def test_what_is_no_camera_is_refused():
    episode = made_episode(1)
    with pytest.raises(ConfigError, match="no camera: it holds float32"):
        load([[episode._replace(observation={"rgb": np.zeros((6, 9), np.float32)})]], settings(), SIZES)


def test_frames_that_do_not_fit_are_kept_in_a_file():
    episodes = [made_episode(1), made_episode(2)]
    small = load([episodes], settings(max_memory=1e-9), SIZES)
    whole = load([episodes], settings(), SIZES)
    assert isinstance(small.images["image_primary"], np.memmap)
    np.testing.assert_array_equal(small.images["image_primary"], whole.images["image_primary"])


def test_frames_are_resized_to_the_model():
    frames = made_episode(1, size=20).observation["rgb"]
    assert load([[made_episode(1, size=20)]], settings(), {"image_primary": 0}).images["image_primary"].shape[1] == 20
    assert resize(frames, 8).shape == (6, 8, 8, 3)
    np.testing.assert_array_equal(resize(frames, 8)[:, 4, 4, 0], frames[:, 0, 0, 0])


def test_each_set_gives_its_share_of_held_out_episodes():
    found = load([[made_episode(i) for i in range(20)], [made_episode(21)]], settings(), SIZES)
    train, held_out = found.split(0.1, seed=0)
    assert len(held_out) == 2 and 20 in train  # the set of one episode keeps it
    assert sorted([*train, *held_out]) == list(range(21))
    np.testing.assert_array_equal(held_out, found.split(0.1, seed=0)[1])
    assert len(found.split(0.0, seed=0)[1]) == 0


def test_a_batch_by_hand():
    made = windows([made_episode(1), made_episode(2, 3)], window=2, modality="language_conditioned", mask=(False,) * 7)
    assert len(made) == 8
    batch = made.batch(np.array([0, 7]), np.random.default_rng(0))  # first step of one episode, last of the other
    observation, task = batch["observation"], batch["task"]
    np.testing.assert_array_equal(observation["image_primary"][:, :, 0, 0, 0], [[10, 10], [21, 22]])
    np.testing.assert_array_equal(observation["timestep_pad_mask"], [[False, True], [True, True]])
    np.testing.assert_array_equal(observation["timestep"], [[0, 0], [1, 2]])
    np.testing.assert_array_equal(task["timestep"], [5, 3])
    np.testing.assert_array_equal(task["language_instruction"], [1, 1])
    np.testing.assert_array_equal(task["pad_mask_dict"]["language_instruction"], [True, True])
    assert "image_primary" not in task
    # not normalised here; frame 1 of the second episode: actions 1, 2 and then the last again
    np.testing.assert_allclose(batch["action"][1, :, :, 0], [[2.1, 2.2, 2.2, 2.2], [2.2, 2.2, 2.2, 2.2]])
    # the instruction's goal is frame 3; officially actions 5 and later are past it: 1..4 and 2..5
    mask = batch["action_pad_mask"]
    np.testing.assert_array_equal(mask[1, :, :, 0], [[True] * 4, [True, True, True, False]])
    assert mask.shape == (2, 2, 4, 7) and mask.dtype == bool


def test_exactly_one_of_image_and_instruction_is_kept():
    made = windows([made_episode(n, 9) for n in range(1, 4)])
    batch = made.batch(np.arange(27), np.random.default_rng(0))
    task = batch["task"]
    image, text = (task["pad_mask_dict"][name] for name in ("image_primary", "language_instruction"))
    np.testing.assert_array_equal(image, ~text)
    assert image.any() and text.any()
    np.testing.assert_array_equal(task["language_instruction"], text)  # position 0 is the empty instruction
    np.testing.assert_array_equal(task["image_primary"].any(axis=(1, 2, 3)), image)
    shade = batch["observation"]["image_primary"][:, 0, 0, 0, 0] // 10 * 10 + task["timestep"]
    np.testing.assert_array_equal(task["image_primary"][image, 0, 0, 0], shade[image])


def test_actions_are_normalised_and_filled_up():
    made = settings()
    recordings = load([[made_episode(1, dims=4), made_episode(3, dims=4)]], made, SIZES)
    batch = Windows(recordings, np.arange(2), made, action_dim=7).batch(np.arange(10), np.random.default_rng(0))
    first = batch["action"][:, 0, 0]
    np.testing.assert_allclose(first[:, :3].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(first[:, :3].std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(first[:, 3], recordings.action[:, 3])  # the gripper
    assert not first[:, 4:].any() and not batch["action_pad_mask"][..., 4:].any()


def test_language_needs_instructions():
    with pytest.raises(ConfigError, match="some episodes have no instruction"):
        windows([made_episode(1, instruction="")], modality="language_conditioned")


def test_every_window_comes_once_an_epoch():
    made = windows([made_episode(n, 8) for n in range(1, 3)])
    batches = made.shuffled(4, seed=3)
    seen = [b["observation"]["image_primary"][:, 0, 0, 0, 0] for b in (batches[i] for i in range(8))]
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    expected = sorted(10 * n + t for n in (1, 2) for t in range(8))
    assert sorted(first) == sorted(second) == expected
    assert np.any(first != second)


def test_the_iterator_goes_on_where_its_state_was_taken():
    made = windows([made_episode(n, 8) for n in range(1, 3)])
    iterator = iterate(made.shuffled(4, seed=3))
    for _ in range(3):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(3)]
    again = iterate(made.shuffled(4, seed=3))
    again.set_state(state)
    for one, batch in zip(expected, [next(again) for _ in range(3)], strict=True):
        np.testing.assert_array_equal(one["observation"]["image_primary"], batch["observation"]["image_primary"])
        np.testing.assert_array_equal(one["task"]["image_primary"], batch["task"]["image_primary"])
        np.testing.assert_array_equal(one["action"], batch["action"])


def test_instructions_come_from_the_table():
    table = {"input_ids": np.array([[1, 0], [5, 1]]), "attention_mask": np.array([[1, 0], [1, 1]])}
    batch = {"task": {"language_instruction": np.array([1, 0, 1])}}
    found = with_instructions(batch, table)["task"]["language_instruction"]
    np.testing.assert_array_equal(found["input_ids"], [[5, 1], [1, 0], [5, 1]])
    assert with_instructions({"task": {}}, table) == {"task": {}}
