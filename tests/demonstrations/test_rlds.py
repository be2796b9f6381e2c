"""RLDS data sets as TensorFlow Datasets writes them, read without TensorFlow."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations import open_demonstrations

LENGTHS = (3, 2)


def picture(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def write(directory, **changes):
    """Two episodes in two files, with the keys of OpenVLA's sets of LIBERO; returns their arrays."""
    tfrecord = pytest.importorskip("tfrecord")
    (directory / "features.json").write_text("{}")
    episodes = []
    for number, length in enumerate(LENGTHS):
        generator = np.random.default_rng(number)
        frames = {name: generator.integers(0, 256, (length, 8, 8, 3), np.uint8) for name in ("wrist_image", "image")}
        numbers = {
            "action": generator.standard_normal((length, 7), np.float32),
            "observation/state": generator.standard_normal((length, 8), np.float32),
            "observation/joint_state": generator.standard_normal((length, 7), np.float32),
            "reward": (np.arange(length) == length - 1).astype(np.float32),
        }
        episodes.append(numbers | frames)
        values = {f"steps/{name}": ("float_list", x.ravel()) for name, x in numbers.items()}
        values |= {f"steps/observation/{name}": ("bytes_list", map(picture, x)) for name, x in frames.items()}
        values["steps/is_last"] = ("int64_list", [0] * (length - 1) + [1])
        values["steps/language_instruction"] = ("bytes_list", [b"open the drawer"] * length)
        values |= changes
        example = tfrecord.example_pb2.Example()
        for name, (kind, x) in values.items():
            getattr(example.features.feature[name], kind).value.extend(x)
        path = directory / f"libero-train.tfrecord-0000{number}-of-00002"
        with path.open("wb") as file:
            content = example.SerializeToString()
            size, check = len(content).to_bytes(8, "little"), tfrecord.TFRecordWriter.masked_crc
            file.write(size + check(size) + content + check(content))
    return episodes


def test_episodes_are_read(tmp_path):
    written = write(tmp_path)
    with open_demonstrations(tmp_path) as demonstrations:
        assert "tensorflow" not in sys.modules and demonstrations.camera_name == "image"
        for one, read in zip(written, demonstrations, strict=True):
            assert sorted(read.observation) == ["joint_state", "proprio", "rgb", "rgb_wrist_image"]
            for key, name in (("rgb", "image"), ("rgb_wrist_image", "wrist_image"), ("proprio", "observation/state")):
                np.testing.assert_array_equal(read.observation[key][:-1], one[name])
                np.testing.assert_array_equal(read.observation[key][-1], one[name][-1])  # there twice
            np.testing.assert_array_equal(read.action, one["action"])
            np.testing.assert_array_equal(read.reward, one["reward"])
            assert read.instruction == "open the drawer" and read.success is None and not read.not_finite
        one = demonstrations.episode(0, keys=("wrist_image",))
        np.testing.assert_array_equal(one.observation["wrist_image"][:-1], written[0]["wrist_image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps/action": ("float_list", [1.0])}, "record 0 cannot be read: ValueError"),
        ({"steps/action": ("bytes_list", [b"left"])}, "numbers are needed, and there are bytes_list"),
        ({"steps/action": ("float_list", [np.nan] * 42)}, r"record 0: actions\[0\] is no finite number"),
        (
            {"steps/observation/image": ("bytes_list", [picture(np.zeros((8, 8, 3), np.uint8))])},
            "1 pictures for 3 steps",
        ),
    ],
)
def test_what_cannot_be_is_named(tmp_path, changes, message):
    write(tmp_path, **changes)
    with open_demonstrations(tmp_path) as demonstrations, pytest.raises(ConfigError, match=message) as error:
        list(demonstrations)
    assert "\n" not in str(error.value)


def test_damaged_files_are_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "libero-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConfigError, match="00001-of-00002 cannot be read: it is cut off"):
        open_demonstrations(tmp_path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "features.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tfrecord", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"pip install 'rpd_jax\[rlds\]'"):
        open_demonstrations(tmp_path)
