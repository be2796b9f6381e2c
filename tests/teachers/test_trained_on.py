"""A checkpoint says what it was trained on, and an environment that is another is warned of."""

import dataclasses
import json

import pytest
from arm_spec import arm_spec
from recorded_sets import CAMERA, write_set

from rpd_jax.config.validation import ConfigError
from rpd_jax.envs.base import Camera
from rpd_jax.envs.registry import make_functional
from rpd_jax.presets import PRESETS
from teachers.finetuning.settings import RecordedData
from teachers.octo.model import SHIPPED
from teachers.recordings import load
from teachers.trained_on import TRAINED_ON_FILE, say_differences

SPEC = arm_spec(
    name="tabletop:PickCube-v1",
    instruction="pick up the cube",
    frame_shape=(8, 8, 3),
    camera=dataclasses.replace(CAMERA),
)


def said(caplog, directory, spec):
    caplog.clear()
    say_differences("it", directory, spec)
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def trained_on(tmp_path, *sets):
    """A directory whose file says what these sets are."""
    found = load(
        [write_set(tmp_path / str(n), info=info) for n, info in enumerate(sets)], RecordedData(), {"image_primary": 8}
    )
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / TRAINED_ON_FILE).write_text(json.dumps(found.trained_on.to_json()))
    return directory


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, None),
        ({"camera": None}, None),
        ({"camera": Camera((0.5, 0.55, 0.55 + 1e-7), (0.0, 0.0, 0.1), 0.7)}, None),
        (
            {"camera": Camera((0.6, 0.7, 0.6), (0.0, 0.0, 0.1), 0.7)},
            "it was trained with camera eye (0.5, 0.55, 0.55), target (0.0, 0.0, 0.1), fov 0.7; this environment's is "
            "camera eye (0.6, 0.7, 0.6), target (0.0, 0.0, 0.1), fov 0.7: expect it to fail",
        ),
        ({"camera": Camera((0.5, 0.55, 0.55), (0.0, 0.0, 0.1), 1.0)}, "fov 1: expect it to fail"),
        ({"frame_shape": (64, 64, 3)}, "trained with frames of 8 pixels; this environment's have 64"),
        (
            {"name": "maniskill:PickCube-v1"},
            "trained in tabletop:PickCube-v1; this environment is maniskill:PickCube-v1",
        ),
        (
            {"instruction": "lift it"},
            "trained with the instruction 'pick up the cube'; this environment's is 'lift it'",
        ),
    ],
)
def test_each_difference_is_a_line(tmp_path, caplog, change, line):
    found = said(caplog, trained_on(tmp_path, {}), dataclasses.replace(SPEC, **change))
    assert len(found) == (line is not None) and (line is None or line in found[0])


def test_of_several_cameras_each_will_do(tmp_path, caplog):
    other = Camera((1.0, 0.0, 0.5))
    directory = trained_on(tmp_path, {}, {"camera": other})
    assert "recorded with several cameras" in caplog.text
    assert not said(caplog, directory, SPEC) and not said(caplog, directory, dataclasses.replace(SPEC, camera=other))
    assert len(said(caplog, directory, dataclasses.replace(SPEC, camera=Camera()))) == 1


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({"camera_eye": [0.5, 0.55, 0.55], "camera_target": [0, 0, 0.1], "camera_fov": 0.7, "camera_shift": []}, True),
        ({"camera_eye": [], "camera_target": [], "camera_fov": 0.0, "camera_shift": []}, False),
    ],
)
def test_older_sets_tell_a_camera_that_was_named(tmp_path, settings, known):
    info = {"camera": None, "env_settings": {"control_mode": "pd_ee_delta_pose", **settings}}
    found = load([write_set(tmp_path / "old", info=info)], RecordedData(), {"image_primary": 8}).trained_on
    assert found.cameras == ((CAMERA,) if known else ())


def test_another_camera_is_not_taken_for_that_of_rgb(tmp_path):
    """Sets say where the camera of "rgb" is, and of no other."""
    found = load(
        [write_set(tmp_path / "wrist", camera="wrist", info={})],
        RecordedData(primary="rgb_wrist"),
        {"image_primary": 8},
    ).trained_on
    assert found.cameras == () and found.image_sizes == (8,)


@pytest.mark.parametrize("text", ["{", "[]", '{"cameras": []}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / TRAINED_ON_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"trained_on\.json") as error:
        say_differences("it", tmp_path, SPEC)
    assert "\n" not in str(error.value)


def test_octo_nano_fits_its_preset_and_is_warned_of_elsewhere(caplog):
    env = PRESETS["quickstart-vla"]().env
    own, elsewhere = (
        make_functional(each, rgb=True, end_on_success=True).spec
        for each in (env, dataclasses.replace(env, name="tabletop:StackCube-v1", camera_eye=(), image_size=128))
    )
    assert own.camera == CAMERA and said(caplog, SHIPPED["octo-nano"], own) == []
    found = said(caplog, SHIPPED["octo-nano"], elsewhere)
    assert [line.split(";")[0].split()[:4] for line in found] == [
        ["it", "was", "trained", "in"],
        *[["it", "was", "trained", "with"]] * 3,
    ]
    assert said(caplog, None, elsewhere) == []
