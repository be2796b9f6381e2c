"""Checkpoints of a run: parameters apart from the rest of the training state, written atomically by orbax.

Everything is stored as numpy arrays under the path of its leaf ("params/actor_0/kernel"), so that a checkpoint can be
read without the classes that wrote it. A checkpoint that was interrupted half-way has a temporary name and
is never picked up. Each has digests of its files, which are compared before anything is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from rpd_jax.config import Config, ConfigError
from rpd_jax.runs.files import read_json, temporary_beside, write_json
from rpd_jax.runs.output_directory import remove, remove_temporaries, set_aside
from rpd_jax.students import run_directory as directory_of

CONFIG_FILE = "config.json"
CHECKPOINT_DIRECTORY = "checkpoints"
_ITEMS, _HOST = ("params", "train_state"), "host/metadata"  # of a checkpoint: directories of arrays; a JSON file
_DIGESTS = "digests.json"  # of a checkpoint: SHA-256 of its files
_PLACE = "commit_success.txt"  # orbax's, which says in words where a checkpoint was written; nothing reads it here
_UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of checkpoints that are being written


class CheckpointError(ValueError):
    """A checkpoint that is missing or does not fit; the message names what."""


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    params: dict[str, np.ndarray]  # of all members, leaves [P, ...], by path
    train_state: dict[str, np.ndarray]  # optimizer, keys, environments, by path
    host: dict[str, Any]  # JSON: counters, ledgers, learning curve, position of the metrics file


class CheckpointStore:
    """The checkpoints in a run directory, for the one process that writes there; readers use `read_checkpoint`.

    What an interrupted writer left half-written is removed, so the directory must have been claimed.
    """

    def __init__(self, run_directory: Path | str, keep: int = 2) -> None:
        self._run = Path(run_directory).absolute()
        self._path, self._keep = self._run / CHECKPOINT_DIRECTORY, keep
        self._path.mkdir(parents=True, exist_ok=True)
        for entry in list(self._path.iterdir()):
            if _UNFINISHED in entry.name:
                remove(entry)
        remove_temporaries(self._path)
        alone = _alone()
        handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone))
        self._writer = ocp.Checkpointer(handler, multiprocessing_options=alone)

    def save(self, iteration: int, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint and deletes the oldest beyond `keep`; does nothing if that iteration has one."""
        if iteration in _iterations(self._path):
            return
        hidden = temporary_beside(self._path / str(iteration))
        self._writer.save(
            hidden,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(checkpoint.params),
                train_state=ocp.args.StandardSave(checkpoint.train_state),
                host=ocp.args.JsonSave(checkpoint.host),
            ),
        )
        write_json(hidden / _DIGESTS, {name: _digest(hidden / name) for name in _files(hidden)})
        hidden.rename(self._path / str(iteration))
        for old in _iterations(self._path)[: -self._keep]:
            remove(self._path / str(old))

    def latest(self) -> int | None:
        """Iteration of the newest complete checkpoint, damaged or not."""
        return max(_iterations(self._path), default=None)

    def load(self, iteration: int | None = None) -> Checkpoint:
        """As `read_checkpoint`."""
        return _read(self._path, iteration)[1]

    def resume(self, iteration: int | None = None) -> Checkpoint:
        """Loads a checkpoint to go on from; newer ones are set aside, so that their iterations can be saved anew."""
        chosen, checkpoint = _read(self._path, iteration)
        newer = [each for each in _iterations(self._path) if each > chosen]
        if newer:
            place = set_aside(self._run, [f"{CHECKPOINT_DIRECTORY}/{each}" for each in newer])
            logging.warning("going on from checkpoint %d; the newer %s were moved to %s", chosen, newer, place)
        return checkpoint

    def close(self) -> None:
        self._writer.close()


def read_checkpoint(run_directory: Path | str, iteration: int | None = None) -> Checkpoint:
    """Reads a checkpoint of a run that may be under way; nothing on disk is changed.

    Args:
      run_directory: of the run, or "shipped:NAME", see `rpd_jax.students`.
      iteration: which one; None: the newest that is intact, with a warning if others are not.

    Raises:
      CheckpointError: there is none, or it is damaged: it cannot be read, or differs from what was saved.
    """
    return _read(directory_of(run_directory).absolute() / CHECKPOINT_DIRECTORY, iteration)[1]


def check_saved(run_directory: Path | str, iteration: int) -> None:
    """Raises CheckpointError unless a run has a checkpoint of this iteration."""
    path = Path(run_directory) / CHECKPOINT_DIRECTORY
    found = _iterations(path)
    if iteration not in found:
        raise CheckpointError(f"no checkpoint {iteration} in {path}: it has {found}")


def check_resumable(run_directory: Path | str, iteration: int | None = None) -> None:
    """Raises CheckpointError where a checkpoint, by default the newest, is of a student alone, as a push makes it."""
    path = Path(run_directory) / CHECKPOINT_DIRECTORY
    chosen = max(_iterations(path), default=None) if iteration is None else iteration
    host = {"metrics_position": None}  # which every run saves
    with contextlib.suppress(CheckpointError):  # missing or damaged: whoever reads it says more
        host = read_json(path / str(chosen) / _HOST, CheckpointError)
    if "metrics_position" not in host:
        raise CheckpointError(
            f"{run_directory} cannot be resumed: it holds a student without the state of its training; start a new run "
            f"from its settings, --config_file={run_directory} --config.run.directory=ANOTHER"
        )


def saved_iterations(run_directory: Path | str) -> list[int]:
    """The iterations whose checkpoints a run keeps, rising."""
    return _iterations(Path(run_directory) / CHECKPOINT_DIRECTORY)


def forget_places(run_directory: Path | str) -> None:
    """Removes from a run's checkpoints what says where they were written; nothing else changes."""
    for iteration in saved_iterations(run_directory):
        path = Path(run_directory) / CHECKPOINT_DIRECTORY / str(iteration)
        for file in path.rglob(_PLACE):
            file.unlink()
        digests = read_json(path / _DIGESTS, CheckpointError)
        write_json(path / _DIGESTS, {name: each for name, each in digests.items() if Path(name).name != _PLACE})


def to_paths(tree: Any) -> dict[str, np.ndarray]:
    """A pytree as {path of the leaf: numpy array}; random keys become their data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): np.asarray(_raw(leaf)) for path, leaf in leaves}


def from_paths(stored: Mapping[str, np.ndarray], template: Any, what: str) -> Any:
    """Inverse of `to_paths` for a tree of `template`'s structure, shapes and types.

    Raises:
      CheckpointError: an array is missing, left over, or of another shape; it is named.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [_name(path) for path, _ in leaves]
    for name in names:
        if name not in stored:
            raise CheckpointError(f"{what}: {name} is missing from the checkpoint")
    for name in stored:
        if name not in set(names):
            raise CheckpointError(f"{what}: the checkpoint's {name} has no place in this configuration")
    restored = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        value, expected = stored[name], _raw(leaf)
        if np.shape(value) != np.shape(expected):
            raise CheckpointError(
                f"{what}: {name} has shape {np.shape(value)} in the checkpoint and {np.shape(expected)} here"
            )
        array = np.asarray(value, dtype=np.asarray(expected).dtype)
        if not isinstance(leaf, jax.Array):
            restored.append(array)
        elif jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            restored.append(jax.random.wrap_key_data(array))  # type: ignore[arg-type]  # numpy will do
        else:
            restored.append(jax.device_put(array))
    return jax.tree_util.tree_unflatten(structure, restored)


def load_config(run_directory: Path | str) -> Config:
    """The configuration that a run directory was made with.

    Raises:
      CheckpointError: it has none, or one that is damaged; the file is named.
      ConfigError: it has settings that cannot work here.
    """
    path = directory_of(run_directory) / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{run_directory} is not a run directory: it has no {CONFIG_FILE}")
    stored = read_json(path, CheckpointError)
    try:
        return Config.from_dict(stored).validate()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{path} is no configuration of a run: {error}") from error


def load_checkpoint(run_directory: Path | str, iteration: int | None = None) -> tuple[Config, Checkpoint]:
    """The configuration of a run directory, and a checkpoint: see `read_checkpoint`."""
    return load_config(run_directory), read_checkpoint(run_directory, iteration)


def _iterations(path: Path) -> list[int]:
    """Those that have a complete checkpoint, rising: one that is being written has another name."""
    if not path.is_dir():
        return []
    return sorted(int(name) for name in os.listdir(path) if name.isdecimal() and (path / name).is_dir())


def _read(path: Path, iteration: int | None) -> tuple[int, Checkpoint]:
    """A checkpoint and its iteration; begins anew whenever a writer adds or deletes some meanwhile."""
    while True:
        found = _iterations(path)
        if iteration is None and not found:
            raise CheckpointError(f"no checkpoint in {path}: it has {found}")
        if iteration is not None and iteration not in found:
            raise CheckpointError(f"no checkpoint {iteration} in {path}: it has {found}")
        damaged: list[CheckpointError] = []
        for each in found[::-1] if iteration is None else [iteration]:
            try:
                checkpoint = _restore(path / str(each))
            except CheckpointError as error:
                if _iterations(path) != found:
                    break
                damaged.append(error)
            else:
                for found_damaged in damaged:
                    logging.warning("%s; taking checkpoint %d instead", found_damaged, each)
                return each, checkpoint
        else:
            others = [each for each in found if each != iteration]
            hint = f"{path} has {others}" if iteration is not None and others else "no other is intact"
            raise CheckpointError(f"{damaged[0]}; {hint}")


def _restore(path: Path) -> Checkpoint:
    """Reads a checkpoint, once its files are found to be what was saved: the libraries below crash over others."""
    if (path / _DIGESTS).exists():
        files = set(_files(path))  # no other is opened, whatever the digests name
        for name, digest in read_json(path / _DIGESTS, CheckpointError).items():
            if name not in files or _digest(path / name) != digest:
                raise CheckpointError(f"{path / name} is damaged: it differs from what was saved (SHA-256)")
    else:
        logging.info("%s is of an older version, without digests: it is taken as it is", path)
    alone = _alone()
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    with contextlib.closing(ocp.Checkpointer(handler, multiprocessing_options=alone)) as reader:
        params, train_state = (_restore_item(reader, path / item) for item in _ITEMS)
    return Checkpoint(params, train_state, read_json(path / _HOST, CheckpointError))


def _alone() -> ocp.options.MultiprocessingOptions:
    """Without waiting for the other processes of a run, which orbax would expect to do the same."""
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this})


def _restore_item(reader: ocp.Checkpointer, path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = reader.restore(path)
        return {str(name): np.asarray(array) for name, array in arrays.items()}
    except Exception as error:  # orbax and tensorstore raise many
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{path} is damaged: it cannot be read ({reason})") from error


def _files(path: Path) -> list[str]:
    """The files that hold a checkpoint's content, relative to it."""
    found = [file for item in _ITEMS for file in (path / item).rglob("*") if file.is_file()]
    return [*sorted(str(file.relative_to(path)) for file in found), _HOST]


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a name that is damaged
        return None


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def _raw(leaf: Any) -> Any:
    is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
