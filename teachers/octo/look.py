"""Looks an Octo checkpoint over before anything is started; its parameters are not read."""

from __future__ import annotations

from pathlib import Path

from teachers.octo.checkpoint import PARAMS_FOLDER, CheckpointError, read_small_files
from teachers.octo.model import SHIPPED
from teachers.octo.statistics import select_statistics
from teachers.octo.text import make_text_processor


def look(path: str | Path, statistics_key: str = "") -> tuple[Path, list[str]]:
    """The checkpoint's directory, and a line for each thing that a user wants to know of it.

    Raises CheckpointError or ValueError, one line, for the first thing that is missing, damaged or does not fit.
    """
    files = read_small_files(SHIPPED.get(str(path), path))
    params = files.directory / str(files.step) / PARAMS_FOLDER
    if not params.is_dir():
        raise CheckpointError(f"{params} is missing: it holds the parameters of a step")
    size = sum(each.stat().st_size for each in params.rglob("*") if each.is_file())
    statistics = select_statistics(files.statistics, statistics_key or None)
    make_text_processor(files.config.get("text_processor"), files.directory)
    observation = files.example_batch["observation"]
    images = {name: x.shape[2] for name, x in observation.items() if name.startswith("image_")}
    return files.directory, [
        f"step {files.step}; needs {size / 2**30:.2f} GiB for its parameters, and as much again while it is read",
        "images " + ", ".join(f"{name} of {side} pixels" for name, side in images.items()),
        f"window of {observation['timestep_pad_mask'].shape[1]} frames; actions of {len(statistics['mean'])} numbers",
    ]
