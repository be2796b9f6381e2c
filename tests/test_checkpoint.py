"""Checkpoints: exact, atomic, and clear about what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.checkpoint import (
    CHECKPOINT_DIRECTORY,
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    from_paths,
    load_checkpoint,
    to_paths,
)

TREE = {
    "layer": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.zeros(3)},
    "key": jax.random.split(jax.random.key(3), 2),
    "count": np.array([5, 6], np.int64),
    "flag": np.array(True),
}


def a_checkpoint(value: float = 0.0) -> Checkpoint:
    return Checkpoint({"w": np.full(3, value)}, to_paths(TREE), {"iteration": 1, "history": [{"a": 1.5}]})


def test_round_trip_is_exact(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(4, a_checkpoint(0.1))
    loaded = store.load()
    np.testing.assert_array_equal(loaded.params["w"], np.full(3, 0.1))
    assert loaded.host == {"iteration": 1, "history": [{"a": 1.5}]}
    restored = from_paths(loaded.train_state, TREE, "tree")
    assert jax.tree.structure(restored) == jax.tree.structure(TREE)
    np.testing.assert_array_equal(jax.random.key_data(restored["key"]), jax.random.key_data(TREE["key"]))
    np.testing.assert_array_equal(restored["layer"]["kernel"], TREE["layer"]["kernel"])
    assert restored["count"].dtype == np.int64
    store.close()


def test_keeps_the_newest(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for iteration in (1, 2, 3):
        store.save(iteration, a_checkpoint(iteration))
    assert store.latest() == 3
    assert store.load(2).params["w"][0] == 2
    with pytest.raises(CheckpointError, match=r"no checkpoint 1 .* it has \[2, 3\]"):
        store.load(1)
    store.close()


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, a_checkpoint(1.0))
    store.save(2, a_checkpoint(2.0))
    store.close()
    # what a crash during the save of 2 leaves: its temporary directory, only partly filled
    directory = tmp_path / CHECKPOINT_DIRECTORY
    (directory / "2").rename(directory / "2.orbax-checkpoint-tmp")
    (directory / "2.orbax-checkpoint-tmp" / "_CHECKPOINT_METADATA").unlink()
    store = CheckpointStore(tmp_path)
    assert store.latest() == 1
    assert store.load().params["w"][0] == 1.0
    store.save(2, a_checkpoint(2.5))
    assert store.load().params["w"][0] == 2.5
    store.close()


def test_misfits_are_named():
    stored = to_paths(TREE)
    with pytest.raises(CheckpointError, match="layer/extra is missing"):
        from_paths(stored, TREE | {"layer": TREE["layer"] | {"extra": jnp.zeros(1)}}, "state")
    with pytest.raises(CheckpointError, match="flag has no place"):
        from_paths(stored, {k: v for k, v in TREE.items() if k != "flag"}, "state")
    with pytest.raises(CheckpointError, match=r"layer/bias has shape \(3,\) in the checkpoint and \(4,\)"):
        from_paths(stored, TREE | {"layer": TREE["layer"] | {"bias": jnp.zeros(4)}}, "state")


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"not a run directory: it has no config\.json"):
        load_checkpoint(tmp_path)
