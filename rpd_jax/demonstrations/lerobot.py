"""Export to a LeRobot v3.0 data set: parquet files, one video per camera and file, and statistics.

The package lerobot itself (0.4.4, the newest for Python 3.11) needs torch < 2.11 and would replace the torch that the
extra "maniskill" asks for; hence the files are written with pyarrow and PyAV (extra "lerobot"), and the tests load them
with lerobot where it is installed, which an environment without ManiSkill allows.

Frames t = 0 ... T - 1 of an episode hold the observation acted in, the action, and reward, success and end of the step;
`lerobot_features` has their names. The observation after the last step has no place in the format. What else is known
of a set, such as what its actions mean and the seeds of its episodes, is in `meta/rpd_jax.json`.

Source: https://huggingface.co/docs/lerobot/lerobot-dataset-v3, and lerobot 0.4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.demonstrations.episode import CONTROL_HZ, Episode
from rpd_jax.demonstrations.lerobot_features import columns_of, describe, frames_of
from rpd_jax.demonstrations.lerobot_files import Video, require, write_rows, write_table, write_tasks
from rpd_jax.demonstrations.lerobot_statistics import image_statistics, numeric_statistics, pooled
from rpd_jax.demonstrations.sets import DemonstrationSet
from rpd_jax.runs.files import write_json

FRAMES_PER_FILE = 10_000  # of data and video; LeRobot's own limits (100 and 200 MB) are about as large
FILES_PER_CHUNK = 1_000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
OWN_FILE = "rpd_jax.json"  # beside info.json


def export(
    demonstrations: DemonstrationSet,
    directory: Path | str,
    frames_per_file: int = FRAMES_PER_FILE,
    *,
    privileged: bool = False,
) -> None:
    """Writes all episodes as a LeRobot data set.

    Args:
      demonstrations: our own or published ones; all episodes have the same observations.
      directory: must not hold a data set yet.
      frames_per_file: a file takes whole episodes until it has as many; at least 1.
      privileged: also write what only the simulator knows.

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
    writer = _Writer(demonstrations, directory, privileged)
    batch: list[int] = []
    frames = 0
    for index in range(len(demonstrations)):
        batch.append(index)
        frames += demonstrations.episode(index, keys=()).length
        if frames >= frames_per_file or index == len(demonstrations) - 1:
            writer.write_file(batch)
            batch, frames = [], 0
    writer.finish()


class _Writer:
    """A data set under way; files are complete once written, and info.json comes last."""

    def __init__(self, demonstrations: DemonstrationSet, directory: Path, privileged: bool) -> None:
        self._demonstrations, self._directory, self._privileged = demonstrations, directory, privileged
        info = demonstrations.info
        self._fps = round(info.control_hz if info and info.control_hz else CONTROL_HZ)
        self._files = 0
        self._frames = 0
        self._tasks: list[str] = []
        self._seeds: list[int | None] = []
        self._episodes: list[dict[str, Any]] = []  # rows of meta/episodes
        self._features: dict[str, dict[str, Any]] = {}
        self._statistics: list[dict[str, dict[str, Any]]] = []  # of each episode
        self._columns: dict[str, list[np.ndarray]] = {}  # of all episodes

    def write_file(self, indices: Sequence[int]) -> None:
        """Writes some episodes as one file of data and, for each camera, one video."""
        chunk_index, file_index = divmod(self._files, FILES_PER_CHUNK)
        self._files += 1
        at = {"chunk_index": chunk_index, "file_index": file_index}
        written: list[dict[str, np.ndarray]] = []
        videos: dict[str, Video] = {}
        for index in indices:
            episode = self._demonstrations.episode(index)
            own, frames = columns_of(episode, self._privileged), frames_of(episode)
            counters = self._count(index, episode)
            self._check_features(index, own | counters, frames)
            row: dict[str, Any] = {"episode_index": index, "tasks": [episode.instruction], "length": episode.length}
            row |= {f"data/{name}": value for name, value in at.items()}
            row |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + episode.length}
            statistics = {name: numeric_statistics(x) for name, x in own.items()}
            for camera, pictures in frames.items():
                if camera not in videos:
                    path = self._directory / VIDEO_PATH.format(video_key=camera, **at)
                    videos[camera] = Video(path, pictures.shape[1:3], self._fps)
                video = videos[camera]
                row |= {f"videos/{camera}/{name}": value for name, value in at.items()}
                row[f"videos/{camera}/from_timestamp"] = video.frames / self._fps
                video.add(pictures)
                row[f"videos/{camera}/to_timestamp"] = video.frames / self._fps
                statistics[camera] = image_statistics(pictures)
            row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
            row |= {f"stats/{name}/{key}": x for name, of in statistics.items() for key, x in of.items()}
            self._episodes.append(row)
            self._statistics.append(statistics)
            for name, x in own.items():
                self._columns.setdefault(name, []).append(x)
            written.append(own | counters)
            self._frames += episode.length
        for video in videos.values():
            video.close()
        joined = {name: np.concatenate([x[name] for x in written]) for name in written[0]}
        write_table(self._directory / DATA_PATH.format(**at), joined)

    def finish(self) -> None:
        """Writes what describes the whole."""
        meta, known = self._directory / "meta", self._demonstrations.info
        write_rows(meta / "episodes" / "chunk-000" / "file-000.parquet", self._episodes)
        write_tasks(meta / "tasks.parquet", self._tasks)
        statistics = {name: numeric_statistics(np.concatenate(x)) for name, x in self._columns.items()}
        cameras = [name for name in self._statistics[0] if name not in statistics]
        statistics |= {name: pooled([of[name] for of in self._statistics]) for name in cameras}
        write_json(meta / "stats.json", statistics)
        own = {"info": known and known.to_dict(), "episode_seeds": self._seeds}
        write_json(meta / OWN_FILE, own)
        suite = self._demonstrations.env_name.partition(":")[0]
        info = {
            "codebase_version": "v3.0",
            "robot_type": (known.robot if known else "") or suite,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if cameras else None,
            "features": self._features,
        }
        write_json(meta / "info.json", info)

    def _check_features(self, index: int, columns: dict[str, np.ndarray], frames: dict[str, np.ndarray]) -> None:
        mode, known = self._demonstrations.control_mode, self._demonstrations.info
        features = describe(columns, frames, known, mode, self._fps)
        self._features = self._features or features
        if features != self._features:
            raise ValueError(f"{self._demonstrations.path}: episode {index} holds other things than the first one")

    def _count(self, index: int, episode: Episode) -> dict[str, np.ndarray]:
        """Columns that number an episode's frames; takes note of its task and its seed."""
        if episode.instruction not in self._tasks:
            self._tasks.append(episode.instruction)
        self._seeds.append(episode.seed)
        frame = np.arange(episode.length)
        return {
            "timestamp": (frame / self._fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(episode.length, index),
            "index": self._frames + frame,
            "task_index": np.full(episode.length, self._tasks.index(episode.instruction)),
        }
