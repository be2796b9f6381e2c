"""Checkpoints of a run: parameters apart from the rest of the training state, written atomically by orbax.

Everything is stored as numpy arrays under the path of its leaf ("params/actor_0/kernel"), so that a checkpoint can be
read without the classes that wrote it. A checkpoint that was interrupted half-way has a temporary name and
is never picked up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from rpd_jax.config import Config

CONFIG_FILE = "config.json"
CHECKPOINT_DIRECTORY = "checkpoints"


class CheckpointError(ValueError):
    """A checkpoint that is missing or does not fit; the message names what."""


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    params: dict[str, np.ndarray]  # of all members, leaves [P, ...], by path
    train_state: dict[str, np.ndarray]  # optimizer, keys, environments, by path
    host: dict[str, Any]  # JSON: counters, ledgers, learning curve, position of the metrics file


class CheckpointStore:
    """The checkpoints in a run directory."""

    def __init__(self, run_directory: Path | str, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._path = Path(run_directory).absolute() / CHECKPOINT_DIRECTORY
        self._manager = ocp.CheckpointManager(self._path, options=options)

    def save(self, iteration: int, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint and deletes the oldest beyond `keep`; does nothing if that iteration has one."""
        if iteration in self._manager.all_steps():
            return
        self._manager.save(
            iteration,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(checkpoint.params),
                train_state=ocp.args.StandardSave(checkpoint.train_state),
                host=ocp.args.JsonSave(checkpoint.host),
            ),
        )

    def latest(self) -> int | None:
        """Iteration of the newest complete checkpoint."""
        return self._manager.latest_step()

    def load(self, iteration: int | None = None) -> Checkpoint:
        """Reads a checkpoint, by default the newest; raises CheckpointError if there is none."""
        chosen = self.latest() if iteration is None else iteration
        if chosen is None or chosen not in self._manager.all_steps():
            found = sorted(self._manager.all_steps())
            raise CheckpointError(f"no checkpoint {chosen if chosen else ''} in {self._path}: it has {found}")
        restored = self._manager.restore(
            chosen,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(),
                train_state=ocp.args.StandardRestore(),
                host=ocp.args.JsonRestore(),
            ),
        )
        return Checkpoint(restored.params, restored.train_state, restored.host)

    def close(self) -> None:
        self._manager.close()


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
            restored.append(jax.random.wrap_key_data(array))
        else:
            restored.append(jax.device_put(array))
    return jax.tree_util.tree_unflatten(structure, restored)


def load_config(run_directory: Path | str) -> Config:
    """The configuration that a run directory was made with; CheckpointError if it has none."""
    path = Path(run_directory) / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{run_directory} is not a run directory: it has no {CONFIG_FILE}")
    return Config.from_dict(json.loads(path.read_text())).validate()


def load_checkpoint(run_directory: Path | str, iteration: int | None = None) -> tuple[Config, Checkpoint]:
    """The configuration and a checkpoint (the newest by default) of a run directory."""
    config = load_config(run_directory)
    store = CheckpointStore(run_directory, keep=config.run.keep_checkpoints)
    try:
        return config, store.load(iteration)
    finally:
        store.close()


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def _raw(leaf: Any) -> Any:
    is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
