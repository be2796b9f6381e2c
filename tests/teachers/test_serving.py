"""The serving file: written, read, compared with what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from arm_spec import arm_spec

from rpd_jax.config import ConfigError
from teachers.digest import digest
from teachers.serving import SERVING_FILE, Serving, read_serving
from teachers.trained_on import say_differences

TRAINED_ON = {"environments": ["tabletop:PickCube-v1"], "control_modes": [], "cameras": [], "image_sizes": []}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_serving(tmp_path) is None
    serving = Serving(
        steps=3,
        planned=3,
        cameras={"image_primary": "rgb"},
        center_crop=True,
        base="hf://openvla/openvla-7b",
        trained_on={**TRAINED_ON, "instructions": ["pick it up"]},
    )
    serving.write(tmp_path)
    assert read_serving(tmp_path) == serving and serving.remarks() == []


def test_what_is_unfinished_or_of_another_base_is_said(tmp_path: Path) -> None:
    base, other = tmp_path / "base", tmp_path / "other"
    for place, text in ((base, "{}"), (other, "[]")):
        place.mkdir()
        (place / "config.json").write_text(text)
    serving = Serving(steps=2, planned=5, base=str(base), base_digest=digest(base))
    assert serving.remarks(base) == ["its fine-tuning is unfinished: 2 of 5 steps"]
    line = serving.remarks(other)[1]
    assert line.startswith(f"was fine-tuned from {base}, digest {digest(base)}; {other} is another, of digest ")


def test_the_environment_is_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = {**TRAINED_ON, "instructions": []}
    Serving(cameras={"image_primary": "hand", "image_wrist": "rgb_wrist"}, trained_on=known).write(tmp_path)
    say_differences("it", tmp_path, arm_spec(name="tabletop:StackCube-v1", frame_shape=(8, 8, 3)))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "it was trained with image_primary from the recordings' 'hand'; it is shown 'rgb': expect it to fail",
        "it was trained with image_wrist from the recordings' 'rgb_wrist'; it is shown 'nothing': expect it to fail",
        "it was trained in tabletop:PickCube-v1; this environment is tabletop:StackCube-v1",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": True}, "serving.json: .*crop"),
        ({"steps": -1}, "serving.json: steps=-1 cannot work: it must be at least 0"),
        ({"trained_on": []}, "serving.json: trained_on=.* cannot work: it must be a JSON object"),
        ({"trained_on": {"cameras": []}}, "serving.json: fields .* are missing or unknown"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, values: dict, message: str) -> None:
    (tmp_path / SERVING_FILE).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message) as error:
        say_differences("it", tmp_path, arm_spec())
    assert "\n" not in str(error.value)
