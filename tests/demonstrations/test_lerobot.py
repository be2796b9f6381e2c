"""LeRobot data sets: the files by themselves, and as the lerobot package loads them where it is installed.

They need the extra "lerobot"; loading them with lerobot itself needs `pip install lerobot`, in an environment without
ManiSkill.
"""

import dataclasses
import importlib
import importlib.util
import json
import sys

import numpy as np
import pytest
from example_episodes import make_episode, make_info

from rpd_jax.config import Config, ConfigError, EnvConfig, TeacherConfig
from rpd_jax.demonstrations import lerobot
from rpd_jax.demonstrations.collect import Settings, collect
from rpd_jax.demonstrations.hdf5 import merge_shards, write_shard
from rpd_jax.demonstrations.lerobot_statistics import image_statistics, numeric_statistics, pooled
from rpd_jax.demonstrations.reading import Demonstrations
from teachers.settings import teacher_factory

installed = all(importlib.util.find_spec(name) for name in ("av", "pyarrow"))
needs_extra = pytest.mark.skipif(not installed, reason="the extra 'lerobot' is not installed")
LENGTHS = (4, 2, 3, 5)


def smooth(length, seed):
    """An episode whose frames a video codec keeps: a plain colour each, 16 x 24 pixels."""
    colours = np.linspace(20, 230, length + 1).astype(np.uint8)
    frames = np.broadcast_to(colours[:, None, None, None], (length + 1, 16, 24, 3)).copy()
    frames[..., 1] = 10 * seed
    episode = make_episode(length, seed)
    return episode._replace(observation=episode.observation | {"rgb": frames, "rgb_wrist": frames[:, ::-1, :16]})


EPISODES = [smooth(length, seed) for seed, length in enumerate(LENGTHS, 1)]


@pytest.fixture
def directory(tmp_path):
    """Four episodes, of which the first two make a file, the others another."""
    write_shard(tmp_path / "0.h5", EPISODES, 4, 4)
    merge_shards([tmp_path / "0.h5"], tmp_path / "demos.h5", 4, make_info(), {"attempted": 4, "succeeded": 4})
    with Demonstrations(tmp_path / "demos.h5") as demonstrations:
        lerobot.export(demonstrations, tmp_path / "lerobot", frames_per_file=6, privileged=True)
    return tmp_path / "lerobot"


def read(path):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pydict()


@needs_extra
def test_data_and_episodes(directory):
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "data/chunk-000/file-001.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/rpd_jax.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.base_camera/chunk-000/file-000.mp4",
        "videos/observation.images.base_camera/chunk-000/file-001.mp4",
        "videos/observation.images.wrist/chunk-000/file-000.mp4",
        "videos/observation.images.wrist/chunk-000/file-001.mp4",
    ]
    second = read(directory / "data/chunk-000/file-001.parquet")
    assert second["episode_index"] == [2, 2, 2, 3, 3, 3, 3, 3] and second["index"] == list(range(6, 14))
    np.testing.assert_allclose(second["timestamp"], [0, 0.05, 0.1, 0, 0.05, 0.1, 0.15, 0.2], atol=1e-7)  # 20 Hz
    np.testing.assert_array_equal(np.array(second["action"][3:], np.float32), EPISODES[3].action)
    states = np.array(second["observation.state"][:3], np.float32)
    np.testing.assert_array_equal(states, EPISODES[2].observation["proprio"][:-1])  # those that were acted in
    states = np.array(second["simulator.state"][:3], np.float32)
    np.testing.assert_array_equal(states, EPISODES[2].observation["state"][:-1])
    assert second["next.done"] == [False, False, True, False, False, False, False, True] == second["next.success"]
    rows = read(directory / "meta/episodes/chunk-000/file-000.parquet")
    assert rows["length"] == list(LENGTHS) and rows["dataset_from_index"] == [0, 4, 6, 9]
    assert rows["dataset_to_index"] == [4, 6, 9, 14] and rows["data/file_index"] == [0, 0, 1, 1]
    video = "videos/observation.images.base_camera"
    np.testing.assert_allclose(rows[f"{video}/from_timestamp"], [0, 0.2, 0, 0.15])
    np.testing.assert_allclose(rows[f"{video}/to_timestamp"], [0.2, 0.3, 0.15, 0.4])
    assert read(directory / "meta/tasks.parquet") == {"task_index": [0], "__index_level_0__": ["move to the goal"]}
    info = json.loads((directory / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["total_frames"] == 14 and info["fps"] == 20
    assert info["splits"] == {"train": "0:4"} and info["robot_type"] == "toy"
    features = info["features"]
    assert features["action"]["names"] == ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    assert features["simulator.state"]["names"] == [
        f"{part}.{axis}" for part in ("tcp_pos", "goal_pos") for axis in "xyz"
    ]
    assert features["observation.state"]["names"] == ["proprio.0", "proprio.1", "proprio.2"]
    assert features["observation.images.wrist"]["shape"] == [16, 16, 3]


@needs_extra
def test_what_only_the_simulator_knows_is_there_on_request_alone(directory):
    with Demonstrations(directory.parent / "demos.h5") as demonstrations:
        lerobot.export(demonstrations, directory.parent / "plain")
    features = json.loads((directory.parent / "plain/meta/info.json").read_text())["features"]
    cameras = {"observation.images.base_camera", "observation.images.wrist"}
    assert {name for name in features if name.startswith("observation")} == {"observation.state", *cameras}
    assert not any(name.startswith("simulator") for name in features)


@needs_extra
def test_videos_hold_the_frames_in_order(directory):
    import av

    for file_index, episodes in ((0, EPISODES[:2]), (1, EPISODES[2:])):
        path = directory / f"videos/observation.images.base_camera/chunk-000/file-{file_index:03d}.mp4"
        with av.open(str(path)) as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        written = np.concatenate([episode.observation["rgb"][:-1] for episode in episodes])
        assert len(decoded) == len(written)
        difference = np.abs(np.stack(decoded).astype(int) - written)
        assert difference.mean() < 4 and difference.max() < 16  # lossy; neighbours differ by 42 and more


@needs_extra
def test_stats_of_the_whole(directory):
    stats = json.loads((directory / "meta/stats.json").read_text())
    actions = np.concatenate([episode.action for episode in EPISODES]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(axis=0))
    np.testing.assert_allclose(stats["action"]["q99"], np.quantile(actions, 0.99, axis=0))
    assert stats["action"]["count"] == [14] and np.shape(stats["observation.images.wrist"]["mean"]) == (3, 1, 1)


def test_pooled_statistics_are_those_of_the_whole():
    generator = np.random.default_rng(0)
    parts = [generator.standard_normal((n, 2)) + n for n in (5, 3, 12)]
    whole, found = numeric_statistics(np.concatenate(parts)), pooled([numeric_statistics(part) for part in parts])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-12)


def test_image_statistics_by_hand():
    frames = np.zeros((5, 8, 8, 3), np.uint8)
    frames[4, :, :, 0] = 255  # the second of the frames looked at: 0 and 4
    found = image_statistics(frames)
    assert found["mean"] == [[[0.5]], [[0.0]], [[0.0]]] and found["std"][0] == [[0.5]] and found["count"] == [2]


@needs_extra
def test_a_collection_in_lerobots_format(tmp_path):
    config = Config(env=EnvConfig(name="toy:Reach-v0"), teacher=TeacherConfig(name="toy", noise=0.3))
    settings = Settings(episodes=3, num_envs=2, format="lerobot")
    with pytest.raises(ConfigError, match="toy:Reach-v0: it has neither frames nor proprioception"):
        collect(config, teacher_factory(config.teacher), settings, tmp_path / "demos")
    settings = dataclasses.replace(settings, privileged=True)
    result = collect(config, teacher_factory(config.teacher), settings, tmp_path / "demos")
    assert result.kept == 3 and not (tmp_path / "demos.partial").exists()
    assert sorted(x.name for x in (tmp_path / "demos").iterdir()) == ["collection.json", "data", "meta"]
    info = json.loads((tmp_path / "demos/meta/info.json").read_text())
    assert info["total_episodes"] == 3 and info["video_path"] is None
    assert info["features"]["simulator.state"]["shape"] == [6]
    odd = dataclasses.replace(config, env=EnvConfig(name="tabletop:PickCube-v1", image_size=65))
    with pytest.raises(ConfigError, match=r"env.image_size=65 cannot work in a LeRobot video: it must be even"):
        collect(odd, teacher_factory(TeacherConfig()), settings, tmp_path / "odd")


@needs_extra
def test_what_cannot_be_exported_is_refused(directory):
    with Demonstrations(directory.parent / "demos.h5") as demonstrations:
        with pytest.raises(ValueError, match="holds a data set: choose another"):
            lerobot.export(demonstrations, directory)
        different = EPISODES[1]._replace(reward=None)
        write_shard(directory.parent / "1.h5", [EPISODES[0], different], 2, 2)
    merge_shards([directory.parent / "1.h5"], directory.parent / "mixed.h5", 2, make_info(), {})
    with (
        Demonstrations(directory.parent / "mixed.h5") as demonstrations,
        pytest.raises(ValueError, match="episode 1 holds other things than the first one"),
    ):
        lerobot.export(demonstrations, directory.parent / "other")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    for name in ("av", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"pip install 'rpd_jax\[lerobot\]'"):
        lerobot.require()
    config = Config(env=EnvConfig(name="toy:Reach-v0"), teacher=TeacherConfig(name="toy"))
    with pytest.raises(ConfigError, match="format='lerobot' cannot work: LeRobot's format needs pyarrow"):
        collect(config, teacher_factory(config.teacher), Settings(format="lerobot"), tmp_path / "demos")
    assert not list(tmp_path.iterdir())


@needs_extra
def test_lerobot_itself_loads_the_data_set(directory):
    package = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    video = {"video_backend": "pyav"}
    steps = {"action": [0.0, 0.05]}
    dataset = package.LeRobotDataset("local/demos", root=directory, delta_timestamps=steps, **video)
    assert len(dataset) == 14 and dataset.num_episodes == 4 and dataset.fps == 20
    start = 0
    for episode in EPISODES:
        for t in range(episode.length):
            item = dataset[start + t]
            np.testing.assert_array_equal(item["action"][0], episode.action[t])
            np.testing.assert_array_equal(item["action"][1], episode.action[min(t + 1, episode.length - 1)])
            np.testing.assert_array_equal(item["observation.state"], episode.observation["proprio"][t])
            frame = item["observation.images.base_camera"].numpy().transpose(1, 2, 0) * 255
            assert np.abs(frame - episode.observation["rgb"][t]).max() < 16
            assert item["observation.images.wrist"].shape == (3, 16, 16)
            assert bool(item["next.done"]) == (t == episode.length - 1) and item["task"] == "move to the goal"
        start += episode.length
    assert dataset.meta.stats["action"]["mean"].shape == (7,)
    inputs = importlib.import_module("lerobot.datasets.utils").dataset_to_policy_features(dataset.meta.features)
    cameras = {"observation.images.base_camera", "observation.images.wrist"}
    assert set(inputs) == {"observation.state", "action", *cameras}  # nothing that only the simulator knows
