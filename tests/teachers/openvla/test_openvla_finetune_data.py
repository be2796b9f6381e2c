"""Fine-tuning OpenVLA: settings, tokens, the order of samples, augmentation."""

from __future__ import annotations

import colorsys
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from recorded import INSTRUCTIONS, recorded

from rpd_jax.config.validation import ConfigError
from teachers.openvla.finetune.settings import (
    AugmentSettings,
    DataSettings,
    FinetuneSettings,
    LoraSettings,
    OptimizerSettings,
)

SIZE = 56


def test_the_defaults_are_the_official_recipe() -> None:
    settings = FinetuneSettings().validate()
    assert (settings.lora.rank, settings.lora.scaled_by, settings.optimizer.learning_rate) == (32, 16, 5e-4)
    assert LoraSettings(rank=8).scaled_by == 8 and LoraSettings(rank=8, alpha=4).scaled_by == 4
    assert FinetuneSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "nf4"}, "dtype='nf4' is unknown: choose from bf16, f32"),
        ({"steps": 0}, "steps=0 cannot work: it must be at least 1"),
        ({"accumulation": 3}, r"data\.batch_size=16 cannot work: it must be a multiple of accumulation=3"),
        ({"lora": LoraSettings(rank=0)}, r"lora\.rank=0"),
        ({"lora": LoraSettings(targets=("lm_head",))}, r"lora\.targets\[0\]='lm_head' is unknown"),
        ({"lora": LoraSettings(targets=())}, r"lora\.targets=\(\) cannot work: it must be some of vision_backbone"),
        ({"optimizer": OptimizerSettings(learning_rate=0.0)}, r"optimizer\.learning_rate=0\.0"),
        ({"optimizer": OptimizerSettings(b2=1.0)}, r"optimizer\.b2=1\.0 cannot work: it must be a number in \[0, 1\)"),
        ({"data": DataSettings(validation_share=1.0)}, r"data\.validation_share=1\.0"),
        ({"data": DataSettings(name="")}, r"data\.name=''"),
        ({"augment": AugmentSettings(crop_area=0.0)}, r"augment\.crop_area=0\.0"),
        ({"augment": AugmentSettings(contrast=(1.2, 0.8))}, r"augment\.contrast=\(1\.2, 0\.8\)"),
        ({"augment": AugmentSettings(hue=0.6)}, r"augment\.hue=0\.6"),
    ],
)
def test_settings_that_cannot_work(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(FinetuneSettings(), **change).validate()


def test_tokens_by_hand() -> None:
    """256 edges from -1 to 1; the id is 32000 less the number of edges that are not above the value.

    0 lies above 128 of them: 31872. -1 reaches the first alone: 31999. Beyond q99 the value is clipped to 1, which
    reaches all 256: 31744; q99 itself becomes 1 - 1e-8, because of what is added to the width, and reaches 255: 31745.
    """
    from teachers.openvla.finetune.data import normalized, target_tokens
    from teachers.openvla.server.action_tokens import ActionTokens

    action = {"q01": [-2.0, 0.0, 5.0, 0.0], "q99": [2.0, 2.0, 5.0, 1.0], "mask": [True, True, True, False]}
    statistics = {"action": action | {"min": [-3.0, 0.0, 5.0, 0.0], "max": [3.0, 3.0, 5.0, 1.0]}}
    values = np.array([[0.0, 3.0, 5.0, 1.0], [-2.5, 2.0, 5.0, 0.0]])
    np.testing.assert_allclose(normalized(values, statistics), [[0, 1, 0, 1], [-1, 1, 0, 0]], atol=1e-7)
    tokens = target_tokens(normalized(values, statistics), ActionTokens())
    np.testing.assert_array_equal(tokens, [[31872, 31744, 31872, 31744, 2], [31999, 31745, 31872, 31872, 2]])


@pytest.fixture
def recordings():
    from teachers.openvla.finetune.data import read

    return read([[recorded(0, 4), recorded(1, 5)], [recorded(2, 3)]], DataSettings(), SIZE)


def samples(recordings, checkpoint: Path, **options):
    from teachers.openvla.finetune.data import Samples
    from teachers.openvla.server.action_tokens import ActionTokens
    from teachers.openvla.server.prompts import Prompter

    return Samples(recordings, np.arange(3), Prompter(checkpoint), ActionTokens(), **options)


def test_frames_are_prepared_as_the_model_prepares_them(recordings, checkpoint: Path) -> None:
    import torch

    from teachers.openvla.finetune.data import pixels
    from teachers.openvla.server.preprocessing import Preprocessor
    from teachers.openvla.server.prompts import Prompter

    prepare = Preprocessor.from_checkpoint(checkpoint)
    made = samples(recordings, checkpoint)
    assert len(made) == 12
    batch = made.batch(0, 12)
    episodes = [recorded(0, 4), recorded(1, 5), recorded(2, 3)]
    frames = np.concatenate([each.observation["rgb"][:-1] for each in episodes])
    words = [each.instruction for each in episodes for _ in range(each.length)]
    order = made.order(0, 12)
    assert torch.equal(pixels(batch, prepare)[:, 0], prepare(frames[order]))
    prompter = Prompter(checkpoint)
    assert batch.prompts == [prompter(words[index]) for index in order]
    assert {len(each) for each in batch.prompts} == {len(prompter(each)) for each in INSTRUCTIONS}
    # The last sample's action again from its tokens, to half a step (1/255 of half the width).
    from teachers.openvla.server.action_tokens import ActionTokens
    from teachers.openvla.server.statistics import Bounds

    bounds = Bounds.of(recordings.statistics["action"])
    back = bounds.unnormalize(ActionTokens().decode(batch.targets[:, :-1].numpy()))
    given = np.concatenate([each.action for each in episodes])[order]
    clipped = np.where(bounds.mask, np.clip(given, bounds.low, bounds.high), given)
    assert (np.abs(back - clipped) <= bounds.half_width / 255 + 1e-6).all()
    assert (batch.targets[:, -1] == 2).all()


def test_every_sample_comes_once_an_epoch(recordings, checkpoint: Path) -> None:
    """12 samples in batches of 5: the first 60 places are five epochs."""
    made = samples(recordings, checkpoint, seed=3)
    places = np.concatenate([made.order(number, 5) for number in range(12)])
    epochs = places.reshape(5, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    again = samples(recordings, checkpoint, seed=3)
    np.testing.assert_array_equal(again.order(7, 5), places[35:40])
    assert (samples(recordings, checkpoint, seed=4).order(0, 12) != epochs[0]).any()


def test_augmentation_follows_from_the_number_of_the_batch(recordings, checkpoint: Path) -> None:
    import torch

    plain = samples(recordings, checkpoint)
    one, other = (samples(recordings, checkpoint, augmentation=AugmentSettings()) for _ in range(2))
    assert torch.equal(one.batch(2, 4).frames, other.batch(2, 4).frames)
    assert (one.batch(2, 4).frames != plain.batch(2, 4).frames).float().mean() > 0.5
    twelve = one.batch(0, 12), one.batch(1, 12)  # both hold every sample once
    first, second = (batch.frames[np.argsort(one.order(n, 12))] for n, batch in enumerate(twelve))
    assert (first != second).flatten(1).any(1).all()


def test_the_crop_is_that_of_the_preprocessing() -> None:
    """In the middle it is `crop_center`, which golden data check; in a corner it begins with the image's."""
    import torch

    from teachers.openvla.finetune.augment import crop
    from teachers.openvla.server.resampling import crop_center

    frames = torch.from_numpy(recorded(0, 1).observation["rgb"])
    images = frames.permute(0, 3, 1, 2).float() / 255
    side = 0.9**0.5
    middle = crop(images, torch.full((2, 2), (1 - side) / 2), side)
    expected = crop_center(frames, 64, 0.9).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(middle, expected, atol=1.01 / 255, rtol=0)
    corner = crop(images, torch.tensor([[0.0, 0.0], [1 - side, 1 - side]]), side)
    torch.testing.assert_close(corner[0, :, 0, 0], images[0, :, 0, 0])
    torch.testing.assert_close(corner[1, :, -1, -1], images[1, :, -1, -1], atol=1e-4, rtol=0)


def test_colours_by_hand() -> None:
    """Hue and saturation beside the standard library's HSV; brightness and contrast of a grey image by hand."""
    import torch

    from teachers.openvla.finetune.augment import Draws, augment, recolour

    colours = np.random.default_rng(0).uniform(size=(50, 3)).astype(np.float32)
    colours[:4] = [[0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0], [0.2, 0.2, 0.9]]
    images = torch.from_numpy(colours).T[None, :, None]
    found = recolour(images, torch.tensor([1.2]), torch.tensor([0.3]))[0, :, 0].T
    for colour, changed in zip(colours, found.numpy(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*colour)
        np.testing.assert_allclose(changed, colorsys.hsv_to_rgb((h + 0.3) % 1, min(1.2 * s, 1), v), atol=1e-5)
    # Columns of 51 and 153 (0.2 and 0.6): 0.1 brighter they are 0.3 and 0.7, with the mean 0.5; half the contrast
    # makes 0.4 and 0.6 of them: 102 and 153.
    frames = torch.tensor([51, 153], dtype=torch.uint8)[None, None, :, None].expand(1, 2, 2, 3)
    numbers = (torch.tensor([x]) for x in (0.1, 0.5, 1.0, 0.0))
    changed = augment(frames, Draws(torch.zeros(1, 2), 1.0, *numbers))
    assert changed[0, :, :, 0].tolist() == [[102, 153]] * 2 and (changed == changed[..., :1]).all()


def test_data_that_cannot_be_used() -> None:
    from teachers.openvla.finetune.data import read

    with pytest.raises(ConfigError, match="data has 1 episodes without an instruction"):
        read([[recorded(0), recorded(1, instruction="")]], DataSettings(), SIZE)
    with pytest.raises(ConfigError, match=r"data\.primary='front' is not recorded .* it has \['rgb'\]"):
        read([[recorded(0)]], DataSettings(primary="front"), SIZE)
