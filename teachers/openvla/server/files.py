"""The files of an OpenVLA checkpoint, and what their heads say: neither torch nor a weight is needed for it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from teachers.openvla.server.config import ModelConfig, read_json
from teachers.openvla.server.statistics import STATISTICS_FILE, read_statistics

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LONGEST_HEADER = 100_000_000  # bytes, of the format


def is_adapter(path: Path) -> bool:
    """Whether a directory holds an adapter, and not the checkpoint that it is added to."""
    return (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file()


def find_base(path: Path, adapter: Path | None, base: str | Path = "") -> tuple[Path, Path | None]:
    """The directories of the checkpoint and of the adapter, where `path` may be the adapter's alone.

    `base` is the directory of the adapter's checkpoint; empty: the one that the adapter names. Raises ValueError if
    that is not there, or is given for what is no adapter.
    """
    if base and (adapter is not None or not is_adapter(path)):
        raise ValueError(f"base={str(base)!r} cannot be given: {path} is no adapter, it has no {ADAPTER_CONFIG} alone")
    if adapter is not None or not is_adapter(path):
        return path, adapter
    found = str(base) or read_json(path / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not found or not Path(found).is_dir():
        what = "base" if base else f"{path / ADAPTER_CONFIG}: base_model_name_or_path"
        raise ValueError(f"{what}={found!r} is no directory: name its checkpoint's with teacher.base, or hf://org/name")
    return Path(found), path


def statistics_of(directory: Path, adapter: Path | None, config: ModelConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checkpoint's own statistics by data set, or its adapter's, and those of the base model besides."""
    own, base = read_statistics(directory, config.norm_stats)
    if adapter is not None and (adapter / STATISTICS_FILE).is_file():
        return read_statistics(adapter, base | own)
    return own, base


def tensor_files(directory: Path) -> list[Path]:
    """The safetensors files that the index lists, or the only one."""
    index = directory / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        listed = read_json(index).get("weight_map")
        if not isinstance(listed, dict) or not all(_is_file_name(name) for name in listed.values()):
            raise ValueError(f"{index} is damaged: its weight_map must give the name of a file for each tensor")
        names = sorted(set(listed.values()))
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise ValueError(f"{directory} is incomplete: it has no {', '.join(missing)}")
    return [directory / name for name in names]


def is_complete(directory: Path) -> bool:
    """Whether a checkpoint's or an adapter's tensor files are all there."""
    if is_adapter(directory):
        return (directory / ADAPTER_WEIGHTS).is_file()
    try:
        return (directory / "config.json").is_file() and bool(tensor_files(directory))
    except ValueError:
        return False


def header(path: Path) -> dict[str, Any]:
    """Of a safetensors file: for each tensor its "dtype", "shape" and "data_offsets".

    Raises ValueError if it is damaged or cut off.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            found = json.loads(file.read(min(length, _LONGEST_HEADER)))
        found.pop("__metadata__", None)
        needed = 8 + length + max((each["data_offsets"][1] for each in found.values()), default=0)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise ValueError(f"{path}: damaged or incomplete ({error})") from None
    if needed != size:
        raise ValueError(f"{path}: damaged or incomplete, it has {size} bytes of {needed}")
    return found


def _is_file_name(value: object) -> bool:
    """Of a file beside the index: a path could lead anywhere."""
    return isinstance(value, str) and value == Path(value).name != ""
