"""Checkpoints: exact, atomic, and clear about what does not fit."""

import contextlib
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpd_jax.config import ConfigError
from rpd_jax.runs.checkpoint import (
    CHECKPOINT_DIRECTORY,
    Checkpoint,
    CheckpointError,
    CheckpointStore,
    from_paths,
    load_checkpoint,
    load_config,
    read_checkpoint,
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


def snapshot(directory):
    """Everything that could tell that a directory was touched."""
    return sorted((str(p), p.lstat().st_ino, p.lstat().st_mtime_ns, p.lstat().st_size) for p in directory.rglob("*"))


def saved(tmp_path, *iterations):
    with contextlib.closing(CheckpointStore(tmp_path, keep=len(iterations))) as store:
        for iteration in iterations:
            store.save(iteration, a_checkpoint(iteration))
    return tmp_path / CHECKPOINT_DIRECTORY


def test_a_reader_changes_nothing(tmp_path):
    directory = saved(tmp_path, 1, 2)
    (directory / "3.orbax-checkpoint-tmp" / "params").mkdir(parents=True)  # being written by a live run
    before = snapshot(tmp_path)
    assert read_checkpoint(tmp_path).params["w"][0] == 2 and read_checkpoint(tmp_path, 1).params["w"][0] == 1
    assert snapshot(tmp_path) == before
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*: it has \[\]"):
        read_checkpoint(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


WRITER = """
import sys
import numpy as np
from rpd_jax.runs.checkpoint import Checkpoint, CheckpointStore
store = CheckpointStore(sys.argv[1], keep=1)
for i in range(1, 16):
    store.save(i, Checkpoint({"w": np.full(3, float(i))}, {"s": np.full(3, i)}, {"iteration": i}))
    print(i, flush=True)
"""


def test_readers_beside_a_live_writer(tmp_path):
    """Which keeps one checkpoint only, so that most vanish while they are read."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    read = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        while writer.poll() is None:
            found = read_checkpoint(tmp_path)
            assert found.params["w"][0] == found.train_state["s"][0] == found.host["iteration"]
            read.append(found.host["iteration"])
    assert writer.returncode == 0 and read_checkpoint(tmp_path).host["iteration"] == 15
    assert len(set(read)) > 3 and read == sorted(read)


def damage(path, kind):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes({"flip": content, "cut": content[:5], "empty": b""}.get(kind, b""))
    if kind == "missing":
        path.unlink()


def test_a_damaged_checkpoint_is_never_loaded(tmp_path, caplog):
    directory = saved(tmp_path / "whole", 1, 2)
    files = [p.relative_to(directory) for p in (directory / "2").rglob("*") if p.is_file()]
    unread = {"_CHECKPOINT_METADATA", "commit_success.txt", "host/commit_success.txt"}  # orbax's own
    for number, file in enumerate(files):
        for kind in ("flip", "cut", "empty", "missing"):
            if str(file.relative_to("2")) in unread or (file.name == "digests.json" and kind == "missing"):
                continue
            run = tmp_path / f"{number}{kind}"
            shutil.copytree(tmp_path / "whole", run)
            damage(run / CHECKPOINT_DIRECTORY / file, kind)
            caplog.clear()
            assert read_checkpoint(run).params["w"][0] == 1, file
            assert "checkpoints/2" in caplog.text and "taking checkpoint 1 instead" in caplog.text
            with pytest.raises(CheckpointError, match=r"checkpoints/2.* damaged.*has \[1\]") as error:
                read_checkpoint(run, 2)
            assert "\n" not in str(error.value)


def test_digests_open_no_file_outside_the_checkpoint(tmp_path):
    file = saved(tmp_path, 1) / "1" / "digests.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"/dev/zero": "0" * 64}))  # to read it would never end
    with pytest.raises(CheckpointError, match="/dev/zero is damaged"):
        read_checkpoint(tmp_path, 1)


def test_a_damaged_checkpoint_makes_room_for_a_new_one(tmp_path, caplog):
    directory = saved(tmp_path, 1, 2, 3)
    damage(directory / "3" / "host" / "metadata", "flip")
    with contextlib.closing(CheckpointStore(tmp_path)) as store:
        assert store.latest() == 3
        assert store.resume().params["w"][0] == 2
        assert store.latest() == 2 and (tmp_path / "set_aside.1" / CHECKPOINT_DIRECTORY / "3").is_dir()
        assert "going on from checkpoint 2; the newer [3] were moved to" in caplog.text
        store.save(3, a_checkpoint(3.5))
        assert store.resume(2).params["w"][0] == 2  # named: the newer is whole, and set aside too
        store.save(3, a_checkpoint(3.7))
        assert store.resume().params["w"][0] == 3.7
        for iteration in (2, 3):
            damage(directory / str(iteration) / "host" / "metadata", "empty")
        with pytest.raises(CheckpointError, match=r"checkpoints/3/host/metadata is damaged.*no other is intact"):
            store.resume()


def test_checkpoints_without_digests_load_and_their_damage_is_one_line(tmp_path):
    directory = saved(tmp_path, 1)
    (directory / "1" / "digests.json").unlink()  # as older versions wrote them
    assert read_checkpoint(tmp_path).params["w"][0] == 1
    damage(directory / "1" / "params" / "_METADATA", "flip")
    with pytest.raises(CheckpointError, match="checkpoints/1/params is damaged: it cannot be read") as error:
        read_checkpoint(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"\xff\0", b"[" * 100_000, b'{"env": null}', b'{"env": []}'])
def test_a_damaged_config_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises((CheckpointError, ConfigError), match=r"config\.json") as error:
        load_config(tmp_path)
    assert "\n" not in str(error.value)


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
