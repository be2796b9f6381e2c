"""The kinds of files in LeRobot's data sets: Parquet tables and H.264 videos, written and read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rpd_jax.runs.files import atomic_path

if TYPE_CHECKING:
    import pyarrow

ENCODER = {"crf": "18", "g": "2", "preset": "fast"}  # every other frame can be jumped to, as LeRobot's own have it


def require() -> None:
    """Raises ImportError, saying what to install, unless pyarrow and PyAV are there."""
    try:
        import av  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"LeRobot's format needs pyarrow and PyAV: pip install 'rpd_jax[lerobot]' ({error})"
        ) from error


def write_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns [T] or [T, D], atomically."""
    import pyarrow as pa

    arrays = {
        name: pa.array(x.reshape(-1))
        if x.ndim == 1 or x.shape[1] == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
        for name, x in columns.items()
    }
    _write(path, pa.table(arrays))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table of rows with the same fields, atomically."""
    import pyarrow as pa

    _write(path, pa.Table.from_pylist([dict(row) for row in rows]))


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Writes the tasks in words; LeRobot reads them with pandas, as the index of a table of their numbers."""
    import pyarrow as pa

    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    index = {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object"}
    described = [x | {"metadata": None} for x in (column, index)]
    pandas = {"index_columns": ["__index_level_0__"], "column_indexes": [], "columns": described}
    numbers = pa.array(range(len(tasks)), pa.int64())
    table = pa.table({"task_index": numbers, "__index_level_0__": pa.array(list(tasks))})
    _write(path, table.replace_schema_metadata({"pandas": json.dumps(pandas)}))


def _write(path: Path, table: pyarrow.Table) -> None:
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


class Video:
    """An H.264 video of as many frames as are added."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int) -> None:
        """`size`: height and width; raises ValueError for an odd one."""
        import av

        if size[0] % 2 or size[1] % 2:
            raise ValueError(f"frames of {size[0]} x {size[1]} pixels cannot be encoded: both must be even")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frames = 0
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps, options=ENCODER)
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


def read_video(path: Path, start: float, count: int, fps: float) -> np.ndarray:
    """Frames uint8 [count, H, W, 3] from `start` seconds on; raises ValueError where some are not there."""
    import av

    found: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(max(int(start * av.time_base), 0))  # to the key frame before
        for frame in container.decode(stream):
            number = round((frame.time - start) * fps)
            if 0 <= number < count:
                found[number] = frame.to_ndarray(format="rgb24")
            if number >= count - 1:
                break
    if len(found) < count:
        raise ValueError(f"{count} frames are wanted from {start:g} s on, {len(found)} are there")
    return np.stack([found[number] for number in range(count)])


def read_pictures(pictures: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] of encoded pictures, each {"bytes": ...}; raises ValueError for what is none."""
    from PIL import Image

    found = []
    for picture in pictures:
        if not picture or not picture.get("bytes"):
            raise ValueError("a picture is not stored in the table")
        with Image.open(io.BytesIO(picture["bytes"])) as image:
            found.append(np.asarray(image.convert("RGB")))
    return np.stack(found)
