"""Octo's checkpoint directories: read, written, and compared with what a model expects.

    <directory>/config.json               the whole training configuration; "model" builds the network
    <directory>/example_batch.msgpack     one training example: observation, task, action, action_pad_mask
    <directory>/dataset_statistics.json   of the actions: by data set name (pretrained), or of one data set (fine-tuned)
    <directory>/<step>/default/...        the parameters

The parameters are one msgpack file (`default/checkpoint`), as the official training writes them, or whatever else orbax
can read there (OCDBT, zarr). Ours are written as msgpack, so that either code reads the other's.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from flax import serialization, traverse_util

from rpd_jax.runs.checkpoint import CheckpointError
from rpd_jax.runs.files import atomic_path
from teachers import hub
from teachers.digest import digest

CONFIG_FILE = "config.json"
EXAMPLE_BATCH_FILE = "example_batch.msgpack"
STATISTICS_FILE = "dataset_statistics.json"
PARAMS_FOLDER = "default"
PARAMS_FILE = "checkpoint"
_SHOWN = 5  # names of parameters in a message

T = TypeVar("T")


class CheckpointFiles(NamedTuple):
    """What a checkpoint directory holds, with names that older versions used brought up to date."""

    directory: Path
    step: int
    config: dict[str, Any]
    example_batch: dict[str, Any]  # numpy, leading axes [1, W] in "observation", [1] in "task"
    statistics: dict[str, Any]  # numpy leaves
    params: dict[str, Any]  # numpy leaves, top keys "octo_transformer" and "heads_<name>"


def read_checkpoint(path: str | Path, step: int | None = None) -> CheckpointFiles:
    """Reads a checkpoint directory.

    Args:
      path: the directory, or "hf://org/name@revision" for a repository of the Hugging Face hub; what is in the
        hub's cache is not asked for again.
      step: which parameters; None: the latest.
    Raises:
      CheckpointError: the directory, a file or the step is not there or cannot be read, an array of it is not finite,
        or a step was given for a repository of the hub.
      ConfigError: it is not in the cache and cannot be downloaded.
    """
    files = read_small_files(path, step)
    folder = files.directory / str(files.step) / PARAMS_FOLDER
    files = files._replace(params=_read_params(folder))
    _check_finite(folder, flatten(files.params))
    return files


def read_small_files(path: str | Path, step: int | None = None) -> CheckpointFiles:
    """As `read_checkpoint`, without the parameters."""
    directory = _directory(path, step)
    files = CheckpointFiles(
        directory=directory,
        step=_choose(directory, step),
        config=_read(directory / CONFIG_FILE, _parse_config),
        example_batch=_read(directory / EXAMPLE_BATCH_FILE, _parse_example_batch),
        statistics=_read(directory / STATISTICS_FILE, _parse_statistics),
        params={},
    )
    actions = {name: leaf for name, leaf in flatten(files.statistics).items() if "action" in name.split("/")}
    _check_finite(directory / STATISTICS_FILE, actions)
    return files


def digest_checkpoint(directory: Path, step: int) -> str:
    """The digest of a step's files, and of those that all steps share."""
    return digest(directory, without=[str(other) for other in _steps(directory) if other != step])


def write_checkpoint(
    directory: str | Path,
    step: int,
    *,
    params: Mapping[str, Any],
    config: Mapping[str, Any],
    example_batch: Mapping[str, Any],
    statistics: Mapping[str, Any],
    extra_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a checkpoint that `read_checkpoint` and the official code read; returns the step's folder.

    The step's folder appears last and whole. The other files are the same for all steps of a run: one that is already
    there is left as it is.

    Args:
      directory: made if it is not there.
      step: number of the training step; a directory holds several.
      params: nested dict of arrays.
      config: JSON.
      example_batch: nested dict of arrays with batch size 1.
      statistics: JSON, with arrays as leaves.
      extra_files: name -> content, for instance a vocabulary.
    Raises:
      CheckpointError: the step is already there, or is negative.
    """
    directory = Path(directory)
    target = directory / str(step)
    if step < 0:
        raise CheckpointError(f"step={step} cannot be written: it must be 0 or more")
    if target.exists():
        raise CheckpointError(f"{target} exists and will not be overwritten: choose another step or directory")
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        CONFIG_FILE: _json_bytes(config),
        EXAMPLE_BATCH_FILE: serialization.msgpack_serialize(_to_numpy(example_batch)),
        STATISTICS_FILE: _json_bytes(statistics),
        **(extra_files or {}),
    }
    for name, content in files.items():
        if not (directory / name).exists():
            with atomic_path(directory / name) as temporary:
                temporary.write_bytes(content)
    unfinished = directory / f".{step}.{secrets.token_hex(4)}"
    try:
        (unfinished / PARAMS_FOLDER).mkdir(parents=True)
        packed = serialization.msgpack_serialize(_to_numpy(params))
        (unfinished / PARAMS_FOLDER / PARAMS_FILE).write_bytes(packed)
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> leaf, "octo_transformer/task_language_projection/kernel" for example."""
    return traverse_util.flatten_dict(_plain(params), sep="/")


def check_params(params: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compares names and shapes with what a model expects.

    Args:
      params: nested dict of arrays.
      expected: nested dict of arrays or of jax.ShapeDtypeStruct, for example from jax.eval_shape.
    Raises:
      ValueError: naming the first parameters that are missing, not expected, or of another shape.
    """
    have = {path: tuple(np.shape(leaf)) for path, leaf in flatten(params).items()}
    want = {path: tuple(leaf.shape) for path, leaf in flatten(expected).items()}
    problems = []
    if missing := sorted(want.keys() - have.keys()):
        problems.append(f"missing: {_some(missing)}")
    if extra := sorted(have.keys() - want.keys()):
        problems.append(f"not expected: {_some(extra)}")
    if other := sorted(path for path in want.keys() & have.keys() if want[path] != have[path]):
        problems.append("shapes: " + _some([f"{path} is {have[path]}, expected {want[path]}" for path in other]))
    if problems:
        raise ValueError(f"the parameters do not fit the model; {'; '.join(problems)}")


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _directory(path: str | Path, step: int | None) -> Path:
    if hub.is_address(path):
        if step is not None:
            raise CheckpointError(f"step={step} cannot be chosen for {str(path)!r}: leave it out, the latest is read")
        return hub.local(path, _is_complete)
    directory = Path(path)
    if not directory.is_dir():
        raise CheckpointError(f"{str(path)!r} is not a directory: name a checkpoint directory or hf://org/name")
    return directory


def _is_complete(directory: Path) -> bool:
    names = (CONFIG_FILE, EXAMPLE_BATCH_FILE, STATISTICS_FILE)
    return bool(_steps(directory)) and all((directory / name).is_file() for name in names)


def _steps(directory: Path) -> list[int]:
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.is_dir() and entry.name.isdecimal())


def _choose(directory: Path, step: int | None) -> int:
    steps = _steps(directory)
    if not steps:
        raise CheckpointError(f"{directory} has no parameters: there is no folder named after a step, such as 300")
    if step is not None and step not in steps:
        raise CheckpointError(f"step={step} is not in {directory}: it has {steps}")
    return steps[-1] if step is None else step


def _read(path: Path, parse: Callable[[bytes], T]) -> T:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: it is part of a checkpoint")
    try:
        return parse(path.read_bytes())
    except Exception as error:  # msgpack and json have many of their own
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def _parse_config(content: bytes) -> dict[str, Any]:
    config = json.loads(content)
    for head in config["model"]["heads"].values():
        if "pred_horizon" in head["kwargs"]:  # its name until 2024
            head["kwargs"]["action_horizon"] = head["kwargs"].pop("pred_horizon")
    return config


def _parse_example_batch(content: bytes) -> dict[str, Any]:
    batch = serialization.msgpack_restore(content)
    if "tasks" in batch:
        batch["task"] = batch.pop("tasks")
    observation = batch["observation"]
    if "timestep_pad_mask" not in observation:
        observation["timestep_pad_mask"] = observation["pad_mask"]
    return batch


def _parse_statistics(content: bytes) -> dict[str, Any]:
    def arrays(value: Any) -> Any:
        return {key: arrays(v) for key, v in value.items()} if isinstance(value, dict) else np.asarray(value)

    statistics = json.loads(content)
    if not isinstance(statistics, dict):
        raise TypeError(f"need a map, got {type(statistics).__name__}")
    return arrays(statistics)


def _read_params(folder: Path) -> dict[str, Any]:
    if (folder / PARAMS_FILE).is_file():
        return _read(folder / PARAMS_FILE, serialization.msgpack_restore)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing: it holds the parameters of a step")
    import orbax.checkpoint as ocp

    folder = folder.absolute()  # as orbax wants
    checkpointer = ocp.PyTreeCheckpointer()
    try:
        tree = checkpointer.metadata(folder).item_metadata.tree
        # As numpy: the devices on which the parameters were written need not exist here.
        numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return _plain(checkpointer.restore(folder, restore_args=numpy))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(f"{folder} holds no parameters that can be read ({reason})") from error


def _check_finite(where: Path, arrays: Mapping[str, Any]) -> None:
    """Raises CheckpointError, with its name, for an array that float32 cannot hold in finite numbers."""
    for name, array in arrays.items():
        if jax.dtypes.issubdtype(np.asarray(array).dtype, np.floating):
            with np.errstate(over="ignore"):
                if not np.isfinite(np.asarray(array, np.float32)).all():
                    raise CheckpointError(f"{where}: {name} holds NaN or infinite numbers")


def _plain(tree: Any) -> Any:
    return {str(key): _plain(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _to_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, _plain(tree))


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    def lists(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray | np.generic | jax.Array):
            return np.asarray(leaf).tolist()
        raise TypeError(f"{type(leaf).__name__} cannot be written as JSON")

    return (json.dumps(_plain(value), indent=1, default=lists) + "\n").encode()
