"""Reading LeRobot data sets of format v3: our own, and published ones such as LIBERO's.

Needs pyarrow, and PyAV where frames are videos (extra "lerobot"). Source: see `lerobot`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rpd_jax.config.validation import ConfigError
from rpd_jax.demonstrations.checks import one_line
from rpd_jax.demonstrations.episode import CONTROL_HZ, DatasetInfo, Episode
from rpd_jax.demonstrations.lerobot import OWN_FILE
from rpd_jax.demonstrations.lerobot_features import IMAGES, entry_of
from rpd_jax.demonstrations.lerobot_files import read_pictures, read_video, require
from rpd_jax.demonstrations.sets import DemonstrationSet
from rpd_jax.runs.files import read_json

_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


class LeRobotDemonstrations(DemonstrationSet):
    """The episodes of a LeRobot data set.

    "observation.state" goes by the name "proprio", the first camera of `meta/info.json` by "rgb", another one by the
    last part of its feature's name, e.g. "rgb_wrist_image"; every camera may also be asked for by its feature's name.
    Other features keep their names. The format has no place for the observation after the last step: the one before it
    is there twice.

    Args:
      path: the directory that holds "meta".

    Raises:
      ConfigError: pyarrow or PyAV is missing, or a file is missing, damaged or of another version; it is named.
    """

    def __init__(self, path: Path | str) -> None:
        try:
            require()
        except ImportError as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        self.path = Path(path)
        self._about = self.path / "meta" / "info.json"
        values = read_json(self._about)
        version, features = values.get("codebase_version"), values.get("features")
        if not str(version).startswith("v3."):
            raise ConfigError(f"{self._about}: codebase_version={version!r} cannot be read: v3.0 can; convert the set")
        if not isinstance(features, dict) or not isinstance(features.get("action"), dict):
            raise ConfigError(f"{self._about} describes no data set of a robot: it must have the feature 'action'")
        self._values, self._fps = values, values.get("fps", CONTROL_HZ)
        if not isinstance(self._fps, int | float) or not self._fps > 0:
            raise ConfigError(f"{self._about}: fps={self._fps!r} cannot work: it must be positive")
        own = self.path / "meta" / OWN_FILE
        known = read_json(own) if own.is_file() else {}
        self.info = DatasetInfo.from_dict(known["info"]) if known.get("info") else None
        # Episodes are read in the order of their files.
        self._table = functools.lru_cache(maxsize=1)(self._read_table)
        self._pictures = functools.lru_cache(maxsize=1)(self._read_pictures)
        self._seeds: Any = known.get("episode_seeds")
        self._rows = self._read_episodes()
        if not isinstance(self._seeds, list) or len(self._seeds) != len(self._rows):
            self._seeds = [None] * len(self._rows)
        kinds = {name: str(each.get("dtype")) for name, each in features.items() if isinstance(each, dict)}
        self._kinds = {name: kind for name, kind in kinds.items() if kind != "string"}
        cameras = [name for name, kind in self._kinds.items() if kind in ("video", "image")]
        entries = [entry_of(name) if self.info else f"rgb_{name.rsplit('.', 1)[-1]}" for name in cameras]
        if not self.info and entries:
            entries[0] = "rgb"
        self._features = dict(zip(entries, cameras, strict=True))  # entry -> feature
        self._features |= {entry_of(name): name for name in self._kinds if self._is_seen(name) and name not in cameras}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def env_name(self) -> str:
        return self.info.env_name if self.info else ""

    @property
    def control_mode(self) -> str:
        return str(self.info.env_settings.get("control_mode", "")) if self.info else ""

    @property
    def camera_name(self) -> str:
        feature = self._features.get("rgb", "")
        return feature.removeprefix(IMAGES)

    def episode(self, index: int, keys: Collection[str] | None = None) -> Episode:
        index = self._position(index)
        row, wanted = self._rows[index], self._features if keys is None else keys
        where = f"{self.path}, episode {index}"
        try:
            table = self._table(self._file("data_path", row, "data"))
            mine = np.flatnonzero(table["episode_index"] == row["episode_index"])
            if len(mine) != row["length"] or not len(mine):
                raise ValueError(f"{row['length']} steps are listed, {len(mine)} are there")
            observation = {}
            for key in wanted:
                feature = self._features.get(key, key)
                if feature in self._kinds and feature not in ("action", *_COUNTERS):
                    values = self._values_of(feature, row, table, mine)
                    observation[key] = np.concatenate([values, values[-1:]])
            column = {name: table[name][mine] for name in ("action", "next.reward", "next.success") if name in table}
            task = int(table["task_index"][mine[0]])
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
                action = column["action"].astype(np.float32)
        except (OSError, KeyError, IndexError, ValueError, TypeError) as error:
            raise ConfigError(f"{where} cannot be read: {type(error).__name__}: {one_line(error)}") from error
        if action.ndim != 2 or task not in self._tasks:
            raise ConfigError(f"{where} cannot be read: action has shape {action.shape}, task_index is {task}")
        success = column.get("next.success")
        success = None if success is None else success.astype(bool)
        ended = np.arange(len(action)) == len(action) - 1
        terminated = ended & (False if success is None else success)
        found = Episode(
            observation=observation,
            action=action,
            reward=column.get("next.reward"),
            terminated=terminated,
            truncated=ended & ~terminated,
            success=success,
            seed=self._seeds[index],
            instruction=self._tasks[task],
            env_name=self.env_name,
        )
        if found.not_finite:
            raise ConfigError(f"{where}: {found.not_finite} is no finite number")
        return found

    def _is_seen(self, feature: str) -> bool:
        return feature not in ("action", *_COUNTERS) and not feature.startswith("next.")

    def _values_of(
        self, feature: str, row: Mapping[str, Any], table: Mapping[str, np.ndarray], mine: np.ndarray
    ) -> np.ndarray:
        """A feature's values [T, ...] in an episode."""
        if self._kinds[feature] == "image":
            stored = self._pictures(self._file("data_path", row, "data"), feature)
            return read_pictures(stored.take(mine).to_pylist())
        if self._kinds[feature] == "video":
            at = f"videos/{feature}"
            path = self._file("video_path", row, at, video_key=feature)
            return read_video(path, float(row[f"{at}/from_timestamp"]), row["length"], self._fps)
        return table[feature][mine].reshape(len(mine), -1)

    def _file(self, field: str, row: Mapping[str, Any], at: str, **names: str) -> Path:
        """The file of an episode; ValueError for one that lies elsewhere."""
        numbers = {name: int(row[f"{at}/{name}"]) for name in ("chunk_index", "file_index")}
        path = self.path / str(self._values[field]).format(**numbers, **names)
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise ValueError(f"{field}={self._values[field]!r} lies outside of the data set")
        return path

    def _read_table(self, path: Path) -> dict[str, np.ndarray]:
        """The columns of numbers of a file of data, [rows] or [rows, D]."""
        import pyarrow.parquet

        names = [name for name, kind in self._kinds.items() if kind not in ("image", "video")]
        stored = pyarrow.parquet.read_table(path, columns=names)
        return {name: _numbers(stored.column(name)) for name in stored.column_names}

    def _read_pictures(self, path: Path, feature: str) -> Any:
        """A column of encoded pictures."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path, columns=[feature]).column(feature)

    @functools.cached_property
    def _tasks(self) -> dict[int, str]:
        rows = _read_rows([self.path / "meta" / "tasks.parquet"])
        try:  # the words are the index of what pandas wrote, or a column "task"
            return {int(row.pop("task_index")): str(next(iter(row.values()))) for row in rows}
        except (KeyError, StopIteration, TypeError, ValueError) as error:
            raise ConfigError(f"{self.path}/meta/tasks.parquet holds no tasks: {one_line(error)}") from error

    def _read_episodes(self) -> list[dict[str, Any]]:
        files = sorted((self.path / "meta" / "episodes").rglob("*.parquet"))
        if not files:
            raise ConfigError(f"{self.path}/meta/episodes is missing: this is no LeRobot data set of version 3")
        rows = _read_rows(files, without="stats/")
        for number, row in enumerate(rows):
            for name in ("episode_index", "length"):
                if not isinstance(row.get(name), int):
                    raise ConfigError(f"{self.path}/meta/episodes: row {number} has no number {name!r}")
        return rows


def _numbers(column: Any) -> np.ndarray:
    """A column of numbers or of lists of as many numbers, as an array."""
    whole = column.combine_chunks()
    if hasattr(whole, "flatten") and hasattr(whole.type, "value_type"):
        return whole.flatten().to_numpy(zero_copy_only=False).reshape(len(whole), -1)
    return whole.to_numpy(zero_copy_only=False)


def _read_rows(files: list[Path], without: str = "") -> list[dict[str, Any]]:
    """The rows of tables, but for columns that begin with `without`."""
    import pyarrow.parquet

    rows: list[dict[str, Any]] = []
    for path in files:
        try:
            names = pyarrow.parquet.read_schema(path).names
            names = [name for name in names if not (without and name.startswith(without))]
            rows += pyarrow.parquet.read_table(path, columns=names).to_pylist()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {one_line(error)}") from error
    return rows
