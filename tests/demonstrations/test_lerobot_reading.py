"""LeRobot data sets read again: our own, and the layout that LIBERO's are published in."""

import io
import json

import numpy as np
import pytest
from example_episodes import make_episode, make_info
from PIL import Image

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations import lerobot, open_demonstrations
from rpd_jax.demonstrations.hdf5 import merge_shards, write_shard
from rpd_jax.demonstrations.lerobot_files import Video, write_rows, write_table, write_tasks
from teachers.finetuning.settings import RecordedData
from teachers.recordings import load

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("av")
LENGTHS = (4, 2, 3)
TASKS = ("open the drawer", "push the plate")


def coloured(length, seed):
    """An episode of two cameras with a plain colour each frame, which a video codec keeps."""
    colours = np.linspace(20, 230, length + 1).astype(np.uint8)
    frames = np.broadcast_to(colours[:, None, None, None], (length + 1, 16, 16, 3)).copy()
    seen = make_episode(length, seed).observation | {"rgb": frames, "rgb_wrist": 250 - frames}
    return make_episode(length, seed)._replace(observation=seen)


EPISODES = [coloured(length, seed) for seed, length in enumerate(LENGTHS, 1)]


@pytest.fixture
def own(tmp_path):
    """Three episodes in two files."""
    write_shard(tmp_path / "0.h5", EPISODES, 3, 3)
    merge_shards([tmp_path / "0.h5"], tmp_path / "demos.h5", 3, make_info(), {})
    with open_demonstrations(tmp_path / "demos.h5") as demonstrations:
        lerobot.export(demonstrations, tmp_path / "lerobot", frames_per_file=5, privileged=True)
    return tmp_path / "lerobot"


def test_own_sets_are_read_as_they_were_written(own):
    with open_demonstrations(own) as read, open_demonstrations(own.parent / "demos.h5") as written:
        assert read.info == written.info and read.env_name == "toy:Reach-v0"
        assert (read.control_mode, read.camera_name) == (written.control_mode, written.camera_name)
        assert read.statistics["action"] == written.statistics["action"] and len(read) == 3
        for one, other in zip(EPISODES, read, strict=True):
            assert list(other.observation) == ["rgb", "rgb_wrist", "proprio", "state"]
            for key in ("state", "proprio"):
                np.testing.assert_array_equal(other.observation[key][:-1], one.observation[key][:-1])
                np.testing.assert_array_equal(other.observation[key][-1], one.observation[key][-2])  # there twice
            for key in ("rgb", "rgb_wrist"):
                pictures = other.observation[key]
                assert pictures.dtype == np.uint8 and pictures.shape == one.observation[key].shape
                assert np.abs(pictures[:-1].astype(int) - one.observation[key][:-1]).max() < 16  # neighbours: over 50
            np.testing.assert_array_equal(other.action, one.action)
            np.testing.assert_array_equal(other.reward, one.reward)
            np.testing.assert_array_equal(other.success, one.success)
            np.testing.assert_array_equal(other.terminated, one.terminated)
            assert (other.seed, other.instruction, other.env_name) == (one.seed, one.instruction, one.env_name)
        assert list(read.episode(-1, keys=("proprio",)).observation) == ["proprio"]
        with pytest.raises(IndexError, match="index 3 is out of range"):
            read[3]


def png(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def publish(directory, kind, wrist="image2"):
    """As LIBERO's sets are published: two cameras, "observation.state" [8], actions [7], several tasks, 10 Hz."""
    cameras = [f"observation.images.{name}" for name in ("image", wrist)]
    generator = np.random.default_rng(0)
    length = sum(LENGTHS)
    columns = {
        "observation.state": generator.standard_normal((length, 8), np.float32),
        "action": generator.standard_normal((length, 7), np.float32),
        "timestamp": np.concatenate([np.arange(n) / 10 for n in LENGTHS]).astype(np.float32),
        "frame_index": np.concatenate([np.arange(n) for n in LENGTHS]),
        "episode_index": np.repeat(np.arange(3), LENGTHS),
        "index": np.arange(length),
        "task_index": np.repeat([1, 0, 1], LENGTHS),
    }
    pictures = {name: generator.integers(0, 256, (length, 16, 16, 3), np.uint8) for name in cameras}
    data = directory / "data/chunk-000/file-000.parquet"
    write_table(data, columns)
    rows = [{"episode_index": n, "length": size, "tasks": [TASKS[(n + 1) % 2]]} for n, size in enumerate(LENGTHS)]
    for row, start in zip(rows, np.cumsum([0, *LENGTHS]), strict=False):
        row |= {"data/chunk_index": 0, "data/file_index": 0}
        for name in cameras:
            at = {"chunk_index": 0, "file_index": 0, "from_timestamp": start / 10}
            row |= {f"videos/{name}/{key}": value for key, value in at.items()} if kind == "video" else {}
    if kind == "image":
        table = parquet.read_table(data)
        for name, frames in pictures.items():
            table = table.append_column(name, pa.array([png(frame) for frame in frames]))
        parquet.write_table(table, data)
    else:
        for name, frames in pictures.items():
            frames[...] = frames[:, :1, :1]  # plain colours
            video = Video(directory / f"videos/{name}/chunk-000/file-000.mp4", (16, 16), 10)
            video.add(frames)
            video.close()
    write_rows(directory / "meta/episodes/chunk-000/file-000.parquet", rows)
    write_tasks(directory / "meta/tasks.parquet", TASKS)
    features = {name: {"dtype": x.dtype.name, "shape": list(x.shape[1:]) or [1]} for name, x in columns.items()}
    features = {name: {"dtype": kind, "shape": [16, 16, 3]} for name in cameras} | features
    info = {"codebase_version": "v3.0", "robot_type": "panda", "fps": 10, "features": features}
    info |= {"data_path": lerobot.DATA_PATH, "video_path": lerobot.VIDEO_PATH}
    (directory / "meta/info.json").write_text(json.dumps(info))
    return columns, pictures


@pytest.mark.parametrize(("kind", "wrist"), [("image", "image2"), ("video", "wrist_image")])
def test_published_sets_are_read(tmp_path, kind, wrist):
    columns, pictures = publish(tmp_path, kind, wrist)
    with open_demonstrations(tmp_path) as demonstrations:
        assert demonstrations.info is None and (demonstrations.control_mode, demonstrations.env_name) == ("", "")
        start = 0
        for number, (length, episode) in enumerate(zip(LENGTHS, demonstrations, strict=True)):
            rows = slice(start, start := start + length)
            assert sorted(episode.observation) == ["proprio", "rgb", f"rgb_{wrist}"]
            np.testing.assert_array_equal(episode.observation["proprio"][:-1], columns["observation.state"][rows])
            np.testing.assert_array_equal(episode.action, columns["action"][rows])
            for key, name in (("rgb", "image"), (f"rgb_{wrist}", wrist)):  # by order, the others by name
                seen = episode.observation[key].astype(int)
                assert seen.shape == (length + 1, 16, 16, 3)
                difference = np.abs(seen[:-1] - pictures[f"observation.images.{name}"][rows])
                assert difference.max() == 0 if kind == "image" else difference.mean() < 8
            assert episode.instruction == TASKS[(number + 1) % 2] and episode.success is None and episode.seed is None
            assert episode.truncated.tolist() == [False] * (length - 1) + [True]
        name = f"observation.images.{wrist}"  # by a setting
        one = demonstrations.episode(1, keys=(name,)).observation
        np.testing.assert_array_equal(one[name], demonstrations[1].observation[f"rgb_{wrist}"])


def change(**values):
    def spoil(directory):
        path = directory / "meta/info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def cut(name):
    return lambda directory: (directory / name).write_bytes((directory / name).read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(codebase_version="v2.1"), "codebase_version='v2.1' cannot be read: v3.0 can"),
        (change(fps=0), "fps=0 cannot work"),
        (change(features={}), "must have the feature 'action'"),
        (change(data_path="../{chunk_index}/{file_index}"), "lies outside of the data set"),
        (change(data_path="{somewhere}"), "episode 0 cannot be read: KeyError"),
        (change(video_path=None), "episode 0 cannot be read"),
        (lambda directory: (directory / "meta/info.json").write_text("{"), "info.json is damaged"),
        (cut("data/chunk-000/file-000.parquet"), "episode 0 cannot be read: ArrowInvalid"),
        (cut("meta/episodes/chunk-000/file-000.parquet"), "file-000.parquet cannot be read"),
        (cut("videos/observation.images.image/chunk-000/file-000.mp4"), "episode 0 cannot be read: InvalidDataError"),
        (lambda directory: (directory / "meta/tasks.parquet").unlink(), "tasks.parquet cannot be read"),
    ],
)
def test_damage_is_named(tmp_path, spoil, message):
    publish(tmp_path, "video")
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=message) as error, open_demonstrations(tmp_path) as demonstrations:
        list(demonstrations)
    assert "\n" not in str(error.value)


def test_a_video_that_is_too_short_is_named(tmp_path):
    publish(tmp_path, "video")
    video = Video(tmp_path / "videos/observation.images.image/chunk-000/file-000.mp4", (16, 16), 10)
    video.add(np.zeros((5, 16, 16, 3), np.uint8))
    video.close()
    with open_demonstrations(tmp_path) as demonstrations, pytest.raises(ConfigError, match="2 frames are wanted"):
        list(demonstrations)


def test_what_actions_mean_is_compared_with_other_sets(own):
    about = own / "meta/rpd_jax.json"
    with open_demonstrations(own) as one, open_demonstrations(own.parent / "demos.h5") as other:
        mixed = load([one, other], RecordedData(), {"image_primary": 16})
        assert mixed.contract == make_info().contract and mixed.trained_on.environments == ("toy:Reach-v0",)
    values = json.loads(about.read_text())
    assert values["episode_seeds"] == [1, 2, 3]
    values["info"]["contract"]["rotation_form"] = "axis_angle"
    about.write_text(json.dumps(values))
    with (
        open_demonstrations(own) as one,
        open_demonstrations(own.parent / "demos.h5") as other,
        pytest.raises(ConfigError, match=r"contract of .*lerobot is rotation_form='axis_angle', of .*demos\.h5"),
    ):
        load([one, other], RecordedData(), {"image_primary": 16})
