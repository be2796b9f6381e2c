"""Checkpoint directories: what is written is read again, old names, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import serialization

from rpd_jax.config import ConfigError
from rpd_jax.runs.checkpoint import CheckpointError
from teachers.octo.checkpoint import check_params, digest_checkpoint, flatten, read_checkpoint, write_checkpoint

CONFIG = {"model": {"heads": {"action": {"module": "m", "name": "n", "args": [], "kwargs": {"action_horizon": 4}}}}}
PARAMS = {
    "heads_action": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)},
    "octo_transformer": {"b": np.ones(4)},
}
BATCH = {
    "observation": {"timestep_pad_mask": np.ones((1, 2), bool), "image_primary": np.zeros((1, 2, 8, 8, 3), np.uint8)},
    "task": {"timestep": np.zeros((1,), np.int32)},
}
STATISTICS = {"some_data": {"action": {"mean": np.zeros(7), "std": np.ones(7), "mask": np.ones(7, bool)}, "size": 3}}
EVERYTHING = {"params": PARAMS, "config": CONFIG, "example_batch": BATCH, "statistics": STATISTICS}


def assert_same(found: dict, wanted: dict) -> None:
    found, wanted = flatten(found), flatten(wanted)
    assert found.keys() == wanted.keys()
    for path, leaf in wanted.items():
        assert isinstance(found[path], np.ndarray) and found[path].dtype == np.asarray(leaf).dtype
        np.testing.assert_array_equal(found[path], leaf)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "new", 300, **EVERYTHING, extra_files={"vocabulary.json": b"[]"})
    assert folder == tmp_path / "new" / "300"
    files = read_checkpoint(tmp_path / "new")
    assert files.directory == tmp_path / "new" and files.step == 300 and files.config == CONFIG
    assert_same(files.params, PARAMS)
    assert_same(files.example_batch, BATCH)
    assert_same(files.statistics, {"some_data": {**STATISTICS["some_data"], "size": np.asarray(3)}})
    names = {"300", "config.json", "example_batch.msgpack", "dataset_statistics.json", "vocabulary.json"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names, "and nothing temporary stays"
    # The layout that the official code reads: one msgpack of the bare parameters.
    assert_same(serialization.msgpack_restore((folder / "default" / "checkpoint").read_bytes()), PARAMS)


def test_parameters_on_a_device_are_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 0, **{**EVERYTHING, "params": {"a": jax.numpy.full((2,), 0.5, "bfloat16")}})
    assert_same(read_checkpoint(tmp_path).params, {"a": np.full((2,), 0.5, jax.numpy.bfloat16)})


def test_a_later_step_leaves_the_other_files_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 9, **EVERYTHING)
    later = jax.tree.map(lambda leaf: leaf + 1, PARAMS)
    write_checkpoint(tmp_path, 10, **{**EVERYTHING, "params": later, "config": {"other": 1}, "statistics": {}})
    (tmp_path / "11.orbax-checkpoint-tmp-0").mkdir()
    (tmp_path / "state").mkdir()
    assert read_checkpoint(tmp_path).step == 10, "numbers, not names, are in order"
    assert read_checkpoint(tmp_path).config == CONFIG
    assert_same(read_checkpoint(tmp_path).params, later)
    assert_same(read_checkpoint(tmp_path, step=9).params, PARAMS)


def test_a_step_is_not_overwritten(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 9, **EVERYTHING)
    with pytest.raises(CheckpointError, match="9 exists and will not be overwritten"):
        write_checkpoint(tmp_path, 9, **{**EVERYTHING, "params": {}})
    with pytest.raises(CheckpointError, match="step=-1"):
        write_checkpoint(tmp_path, -1, **EVERYTHING)
    assert_same(read_checkpoint(tmp_path).params, PARAMS)


def test_a_write_that_fails_leaves_no_step(tmp_path: Path) -> None:
    with pytest.raises(Exception):  # noqa: B017  (whatever numpy or msgpack say of it)
        write_checkpoint(tmp_path, 9, **{**EVERYTHING, "params": {"a": object()}})
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_names_of_older_versions(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, **EVERYTHING)
    old = json.loads(json.dumps(CONFIG))
    old["model"]["heads"]["action"]["kwargs"] = {"pred_horizon": 4}
    (tmp_path / "config.json").write_text(json.dumps(old))
    observation = {"pad_mask": np.asarray([[True, False]])}
    batch = {"observation": observation, "tasks": BATCH["task"]}
    (tmp_path / "example_batch.msgpack").write_bytes(serialization.msgpack_serialize(batch))
    files = read_checkpoint(tmp_path)
    assert files.config == CONFIG
    assert "tasks" not in files.example_batch
    assert_same(files.example_batch["task"], BATCH["task"])
    np.testing.assert_array_equal(files.example_batch["observation"]["timestep_pad_mask"], [[True, False]])


@pytest.mark.parametrize("ocdbt", [True, False])
def test_what_orbax_writes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ocdbt: bool) -> None:
    write_checkpoint(tmp_path, 1, **EVERYTHING)
    folder = tmp_path / "2" / "default"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)) as checkpointer:
        checkpointer.save(folder, PARAMS)
    assert (folder / "manifest.ocdbt").exists() == ocdbt and not (folder / "checkpoint").exists()
    assert_same(read_checkpoint(tmp_path).params, PARAMS)
    monkeypatch.chdir(tmp_path.parent)
    assert_same(read_checkpoint(tmp_path.name).params, PARAMS)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere' is not a directory"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no folder named after a step"):
        read_checkpoint(tmp_path)
    write_checkpoint(tmp_path, 3, **EVERYTHING)
    write_checkpoint(tmp_path, 20, **EVERYTHING)
    with pytest.raises(CheckpointError, match=r"step=4 is not in .*: it has \[3, 20\]"):
        read_checkpoint(tmp_path, step=4)
    for name in ("config.json", "example_batch.msgpack", "dataset_statistics.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
            read_checkpoint(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            read_checkpoint(tmp_path)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "20" / "default" / "checkpoint").unlink()
    with pytest.raises(CheckpointError, match="default holds no parameters that can be read"):
        read_checkpoint(tmp_path)
    (tmp_path / "20" / "default").rmdir()
    with pytest.raises(CheckpointError, match="default is missing"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_what_is_no_number_is_named(tmp_path: Path, value: float) -> None:
    bad = np.array([0.0, value])
    write_checkpoint(tmp_path / "a", 3, **{**EVERYTHING, "params": {**PARAMS, "octo_transformer": {"b": bad}}})
    with pytest.raises(CheckpointError, match=r"a/3/default: octo_transformer/b holds NaN or infinite numbers"):
        read_checkpoint(tmp_path / "a")
    write_checkpoint(tmp_path / "b", 3, **{**EVERYTHING, "statistics": {"some_data": {"action": {"std": bad}}}})
    with pytest.raises(CheckpointError, match=r"dataset_statistics.json: some_data/action/std holds NaN or infinite"):
        read_checkpoint(tmp_path / "b")
    (tmp_path / "b" / "dataset_statistics.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"dataset_statistics.json cannot be read \(TypeError: need a map"):
        read_checkpoint(tmp_path / "b")
    if value == np.inf:
        write_checkpoint(tmp_path / "c", 3, **{**EVERYTHING, "params": {"a": bad.astype(jax.numpy.bfloat16)}})
        with pytest.raises(CheckpointError, match=r"c/3/default: a holds NaN or infinite numbers"):
            read_checkpoint(tmp_path / "c")


def test_the_digest_is_of_a_step_and_what_all_share(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 3, **EVERYTHING)
    before = digest_checkpoint(tmp_path, 3)
    write_checkpoint(tmp_path, 4, **{**EVERYTHING, "params": {"a": np.ones(2)}})
    assert digest_checkpoint(tmp_path, 3) == before != digest_checkpoint(tmp_path, 4)
    (tmp_path / "dataset_statistics.json").write_text("{}")
    assert digest_checkpoint(tmp_path, 3) != before


def test_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete repository in the cache needs no connection; an incomplete one or none asks for it."""
    import huggingface_hub

    asked: list[bool] = []

    def snapshot_download(repository: str, local_files_only: bool, revision: str | None = None) -> str:
        assert (repository, revision) == ("some/model", None)
        asked.append(local_files_only)
        if not local_files_only:
            raise ConnectionError("no route")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(ConfigError, match=r"'hf://some/model' .* cannot be downloaded \(ConnectionError\)"):
        read_checkpoint("hf://some/model")
    assert asked == [True, False]
    write_checkpoint(tmp_path, 7, **EVERYTHING)
    assert read_checkpoint("hf://some/model").step == 7
    assert asked == [True, False, True]
    with pytest.raises(CheckpointError, match="step=7 cannot be chosen for 'hf://some/model'"):
        read_checkpoint("hf://some/model", step=7)


def test_check_params_names_what_differs() -> None:
    expected = {"a": {"w": jax.ShapeDtypeStruct((2, 3), np.float32)}, "b": jax.ShapeDtypeStruct((4,), np.float32)}
    check_params({"a": {"w": np.zeros((2, 3))}, "b": np.zeros(4)}, expected)
    with pytest.raises(ValueError) as caught:
        check_params({"a": {"w": np.zeros((3, 2))}, "c": {"d": np.zeros(1)}}, expected)
    assert str(caught.value) == (
        "the parameters do not fit the model; missing: b; not expected: c/d; shapes: a/w is (3, 2), expected (2, 3)"
    )
    with pytest.raises(ValueError, match=r"missing: p0, p1, p2, p3, p4 and 2 more$"):
        check_params({}, {f"p{i}": np.zeros(1) for i in range(7)})
