"""Export to a LeRobot v3.0 data set: parquet files, one video per camera and file, and statistics.

LeRobot's format was chosen over RLDS because RLDS needs TensorFlow to be written or read. The package lerobot itself
(0.4.4, the newest for Python 3.11) needs torch < 2.11 and would replace the torch that the extra "maniskill" asks for;
hence the files are written with pyarrow and PyAV (extra "lerobot"), and the tests load them with lerobot where it is
installed, which an environment without ManiSkill allows.

Frames t = 0 ... T - 1 of an episode hold the observation acted in, the action, and reward, success and end of the step.
The observation after the last step has no place in the format. Features: "action"; "observation.state" (what a robot
knows of itself: "proprio", or "state" where that is all); "observation.environment_state" (the simulator's "state");
"observation.ee"; "observation.images.base_camera"; "next.reward", "next.success", "next.done".

Source: https://huggingface.co/docs/lerobot/lerobot-dataset-v3, and lerobot 0.4.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.demonstrations.episode import CONTROL_HZ, Episode
from rpd_jax.demonstrations.lerobot_statistics import image_statistics, numeric_statistics, pooled
from rpd_jax.demonstrations.reading import Demonstrations
from rpd_jax.runs.files import atomic_path, write_json

CAMERA = "observation.images.base_camera"
FRAMES_PER_FILE = 10_000  # of data and video; LeRobot's own limits (100 and 200 MB) are about as large
FILES_PER_CHUNK = 1_000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
ENCODER = {"crf": "18", "g": "2", "preset": "fast"}  # every other frame can be jumped to, as LeRobot's own have it
ACTION_NAMES = ["x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper"]


def require() -> None:
    """Raises ImportError, saying what to install, unless pyarrow and PyAV are there."""
    try:
        import av  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"LeRobot's format needs pyarrow and PyAV: pip install 'rpd_jax[lerobot]' ({error})"
        ) from error


def export(demonstrations: Demonstrations, directory: Path | str, frames_per_file: int = FRAMES_PER_FILE) -> None:
    """Writes all episodes as a LeRobot data set.

    Args:
      demonstrations: our own or published ones; all episodes have the same observations.
      directory: must not hold a data set yet.
      frames_per_file: a file takes whole episodes until it has as many; at least 1.

    Raises:
      ImportError: pyarrow or PyAV is missing.
      ValueError: nothing to export, a data set is there, frames of odd size, or episodes that differ in what they hold.
    """
    require()
    directory = Path(directory)
    if (directory / "meta").exists():
        raise ValueError(f"directory={str(directory)!r} holds a data set: choose another")
    if len(demonstrations) == 0:
        raise ValueError(f"{demonstrations.path} holds no episodes: there is nothing to export")
    writer = _Writer(directory, demonstrations.instruction)
    batch: list[int] = []
    frames = 0
    for index in range(len(demonstrations)):
        batch.append(index)
        frames += demonstrations.episode(index, keys=()).length
        if frames >= frames_per_file or index == len(demonstrations) - 1:
            writer.write_file(demonstrations, batch)
            batch, frames = [], 0
    writer.finish(demonstrations)


def features_of(episode: Episode) -> dict[str, np.ndarray]:
    """An episode's columns [T, ...] but for the frames, by LeRobot's names."""
    seen = {key: x[:-1] for key, x in episode.observation.items() if key != "rgb"}
    columns = {}
    if "proprio" in seen:
        columns["observation.state"] = seen.pop("proprio")
        if "state" in seen:
            columns["observation.environment_state"] = seen.pop("state")
    elif "state" in seen:
        columns["observation.state"] = seen.pop("state")
    for key, x in seen.items():
        if x.ndim == 2 and x.dtype.kind == "f":  # of published files; depth and segmentation are left out
            columns["observation." + key.replace("/", ".")] = x
    columns = {key: np.asarray(x, np.float32) for key, x in columns.items()}
    columns["action"] = episode.action
    if episode.reward is not None:
        columns["next.reward"] = np.asarray(episode.reward, np.float32)
    if episode.success is not None:
        columns["next.success"] = episode.success
    columns["next.done"] = np.arange(episode.length) == episode.length - 1
    return columns


class _Writer:
    """A data set under way; files are complete once written, and info.json comes last."""

    def __init__(self, directory: Path, task: str) -> None:
        self._directory, self._task = directory, task
        self._files = 0
        self._frames = 0
        self._episodes: list[dict[str, Any]] = []  # rows of meta/episodes
        self._features: dict[str, dict[str, Any]] | None = None
        self._statistics: list[dict[str, dict[str, Any]]] = []  # of each episode
        self._columns: dict[str, list[np.ndarray]] = {}  # of all episodes

    def write_file(self, demonstrations: Demonstrations, indices: Sequence[int]) -> None:
        """Writes some episodes as one file of data and, where there are frames, one video."""
        chunk_index, file_index = divmod(self._files, FILES_PER_CHUNK)
        self._files += 1
        at = {"chunk_index": chunk_index, "file_index": file_index}
        columns: list[dict[str, np.ndarray]] = []
        video: _Video | None = None
        for index in indices:
            episode = demonstrations.episode(index)
            features = _describe(episode, demonstrations.control_mode)
            if self._features is None:
                self._features = features
            if features != self._features:
                raise ValueError(f"{demonstrations.path}: episode {index} holds other things than the first one")
            own = features_of(episode)
            row: dict[str, Any] = {"episode_index": index, "tasks": [self._task], "length": episode.length}
            row |= {f"data/{name}": value for name, value in at.items()}
            row |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + episode.length}
            statistics = {name: numeric_statistics(x) for name, x in own.items()}
            if "rgb" in episode.observation:
                frames = episode.observation["rgb"][:-1]
                if video is None:
                    video = _Video(self._directory / VIDEO_PATH.format(video_key=CAMERA, **at), frames.shape[1:3])
                row |= {f"videos/{CAMERA}/{name}": value for name, value in at.items()}
                row[f"videos/{CAMERA}/from_timestamp"] = video.frames / CONTROL_HZ
                video.add(frames)
                row[f"videos/{CAMERA}/to_timestamp"] = video.frames / CONTROL_HZ
                statistics[CAMERA] = image_statistics(frames)
            row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
            row |= {f"stats/{name}/{key}": x for name, of in statistics.items() for key, x in of.items()}
            self._episodes.append(row)
            self._statistics.append(statistics)
            for name, x in own.items():
                self._columns.setdefault(name, []).append(x)
            columns.append(own | _counters(index, self._frames, episode.length))
            self._frames += episode.length
        if video is not None:
            video.close()
        joined = {name: np.concatenate([x[name] for x in columns]) for name in columns[0]}
        _write_table(self._directory / DATA_PATH.format(**at), joined)

    def finish(self, demonstrations: Demonstrations) -> None:
        """Writes what describes the whole."""
        import pyarrow as pa

        meta = self._directory / "meta"
        _write_rows(meta / "episodes" / "chunk-000" / "file-000.parquet", self._episodes)
        # LeRobot reads the tasks with pandas, by their index: the task in words
        column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
        index = {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object"}
        described = [x | {"metadata": None} for x in (column, index)]
        pandas = {"index_columns": ["__index_level_0__"], "column_indexes": [], "columns": described}
        tasks = pa.table({"task_index": pa.array([0], pa.int64()), "__index_level_0__": pa.array([self._task])})
        _write_arrow(meta / "tasks.parquet", tasks.replace_schema_metadata({"pandas": json.dumps(pandas)}))
        statistics = {name: numeric_statistics(np.concatenate(x)) for name, x in self._columns.items()}
        if CAMERA in self._statistics[0]:
            statistics[CAMERA] = pooled([of[CAMERA] for of in self._statistics])
        write_json(meta / "stats.json", statistics)
        assert self._features is not None
        info = {
            "codebase_version": "v3.0",
            "robot_type": demonstrations.env_name.partition(":")[0],
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": CONTROL_HZ,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if CAMERA in self._features else None,
            "features": self._features,
        }
        write_json(meta / "info.json", info)


class _Video:
    """An H.264 video of as many frames as are added."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        import av

        if size[0] % 2 or size[1] % 2:
            raise ValueError(f"frames of {size[0]} x {size[1]} pixels cannot be encoded: both must be even")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frames = 0
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=CONTROL_HZ, options=ENCODER)
        self._stream.height, self._stream.width, self._stream.pix_fmt = *size, "yuv420p"

    def add(self, frames: np.ndarray) -> None:
        """Adds frames uint8 [T, H, W, 3]."""
        import av

        for frame in frames:
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        self.frames += len(frames)

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def _counters(index: int, first: int, length: int) -> dict[str, np.ndarray]:
    frame = np.arange(length)
    return {
        "timestamp": (frame / CONTROL_HZ).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(length, index),
        "index": first + frame,
        "task_index": np.zeros(length, np.int64),
    }


def _describe(episode: Episode, control_mode: str) -> dict[str, dict[str, Any]]:
    """The features of info.json."""
    columns = features_of(episode) | _counters(0, 0, episode.length)
    features: dict[str, dict[str, Any]] = {
        name: {"dtype": x.dtype.name, "shape": list(x.shape[1:]) or [1], "names": None} for name, x in columns.items()
    }
    if control_mode.endswith("pose") and episode.action.shape[1] == len(ACTION_NAMES):
        features["action"]["names"] = ACTION_NAMES
    if "rgb" in episode.observation:
        shape = list(episode.observation["rgb"].shape[1:])
        video = {"height": shape[0], "width": shape[1], "codec": "h264", "pix_fmt": "yuv420p", "fps": CONTROL_HZ}
        info = {f"video.{name}": value for name, value in (video | {"channels": 3, "is_depth_map": False}).items()}
        names = ["height", "width", "channels"]
        features[CAMERA] = {"dtype": "video", "shape": shape, "names": names, "info": {**info, "has_audio": False}}
    return features


def _write_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    import pyarrow as pa

    arrays = {
        name: pa.array(x.reshape(-1))
        if x.ndim == 1 or x.shape[1] == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
        for name, x in columns.items()
    }
    _write_arrow(path, pa.table(arrays))


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa

    _write_arrow(path, pa.Table.from_pylist([dict(row) for row in rows]))


def _write_arrow(path: Path, table: Any) -> None:
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
