"""Frames become pixels as PIL and TensorFlow make them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize("shape", [(256, 256), (480, 640), (96, 120), (224, 300), (37, 224), (30, 1000)])
def test_resizing_is_pils_bit_by_bit(shape: tuple[int, int]) -> None:
    import torch

    from teachers.openvla.server.resampling import resize_pil

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    image[: shape[0] // 2] = np.where(image[: shape[0] // 2] > 127, 255, 0)  # overshoots, which PIL clips
    want = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize_pil(torch.from_numpy(image)[None], 224)[0], want)


def test_the_crop_keeps_nine_tenths_of_the_area() -> None:
    import torch

    from teachers.openvla.server.resampling import crop_center

    # A horizontal ramp of one level per pixel: the crop samples columns o 224 + k n 224 / 223 with n = sqrt(0.9) and
    # o = (1 - n) / 2, the first at 5.7473 and the last at 218.2527; a level is floor(value + value / 510), as
    # value / 255 * 255.5 is value * (1 + 1 / 510).
    ramp = torch.arange(225, dtype=torch.uint8)[None, None, :, None].expand(1, 225, 225, 3)
    columns = crop_center(ramp, 224)[0, 100, :, 0].long()
    assert columns[0] == 5 and columns[-1] == 218  # floor(5.7586), floor(218.6806)
    steps = 224 * 0.9**0.5 / 223
    at = 224 * (1 - 0.9**0.5) / 2 + steps * np.arange(224)
    np.testing.assert_array_equal(columns, np.floor(at * 255.5 / 255 + 1e-4))
    flat = torch.full((1, 100, 60, 3), 77, dtype=torch.uint8)
    assert (crop_center(flat, 224) == 77).all()


def test_lanczos_keeps_flat_images_and_clips() -> None:
    import torch

    from teachers.openvla.server.resampling import resize_lanczos, weights

    np.testing.assert_allclose(weights("lanczos3", 256, 224).sum(1), 1, atol=1e-12)
    assert (resize_lanczos(torch.full((1, 256, 256, 3), 255, dtype=torch.uint8), 224) == 255).all()


@pytest.fixture
def config(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "preprocessor_config.json").read_text())


def test_the_rounded_constants_win(config: dict) -> None:
    from teachers.openvla.server.preprocessing import Preprocessor

    assert Preprocessor.from_dict(config).mean[0] == (0.484375, 0.455078125, 0.40625)
    del config["tvf_normalize_params"]
    assert Preprocessor.from_dict(config).mean[0] == (0.485, 0.456, 0.406)


def test_pixels_by_hand(config: dict) -> None:
    from teachers.openvla.server.preprocessing import Preprocessor

    pixels = Preprocessor.from_dict(config)(np.full((1, 30, 40, 3), 51, np.uint8))  # 51 / 255 = 0.2
    assert pixels.shape == (1, 6, 56, 56)
    np.testing.assert_allclose(pixels[0, 0, 0, 0], (0.2 - 0.484375) / 0.228515625, rtol=1e-6)
    np.testing.assert_allclose(pixels[0, 5, 0, 0], (0.2 - 0.5) / 0.5, rtol=1e-6)


def test_crop_and_libero_are_asked_for(config: dict, frames: np.ndarray) -> None:
    from teachers.openvla.server.preprocessing import Preprocessor

    made = [
        np.asarray(Preprocessor.from_dict(config, center_crop=crop, libero=libero).resized(frames))
        for crop in (False, True)
        for libero in (False, True)
    ]
    assert all((a != b).any() for index, a in enumerate(made) for b in made[:index])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_resize_strategy": "letterbox"}, "image_resize_strategy='letterbox'"),
        ({"interpolations": ["bicubic", "bilinear"]}, "interpolations="),
        ({"input_sizes": [[3, 56, 56], [3, 56, 60]]}, "need squares of one size"),
    ],
)
def test_what_is_not_supported_is_said(config: dict, change: dict, message: str) -> None:
    from teachers.openvla.server.preprocessing import Preprocessor

    with pytest.raises(ValueError, match=message):
        Preprocessor.from_dict({**config, **change})


@pytest.mark.parametrize("bad", [np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)])
def test_frames_must_be_frames(config: dict, bad: np.ndarray) -> None:
    from teachers.openvla.server.preprocessing import Preprocessor

    with pytest.raises(ValueError, match=r"need uint8 \[B, H, W, 3\]"):
        Preprocessor.from_dict(config)(bad)


def test_frames_may_be_views_and_read_only(config: dict, frames: np.ndarray) -> None:
    from teachers.openvla.server.preprocessing import Preprocessor

    preprocessor = Preprocessor.from_dict(config)
    want = np.asarray(preprocessor(frames[:, ::-1].copy()))
    fixed = frames.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(preprocessor(fixed[:, ::-1]), want)
    assert not fixed.flags.writeable
