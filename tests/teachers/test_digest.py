"""Digests by which a run knows its teacher again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from teachers import digest as module
from teachers.digest import digest, digest_arrays


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "config.json").write_text("{}")
    (tmp_path / "here" / "deep" / "weights").write_bytes(bytes(range(256)) * 64)
    return tmp_path / "here"


def test_another_place_has_the_same_digest(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path / "there")
    (tmp_path / "there" / ".cache").mkdir()
    (tmp_path / "there" / ".cache" / "lock").write_text("hidden")
    (tmp_path / "there" / "train").mkdir()
    (tmp_path / "there" / "train" / "log").write_text("left out")
    assert digest(tmp_path / "there", without=["train"]) == digest(directory) != digest(tmp_path / "there")
    assert len(digest(directory)) == 16


@pytest.mark.parametrize(
    "change",
    [
        lambda place: (place / "config.json").write_text("[]"),
        lambda place: (place / "config.json").rename(place / "other.json"),
        lambda place: (place / "more").write_text(""),
        lambda place: (place / "deep" / "weights").write_bytes(bytes(range(256)) * 63 + bytes(256)),
        lambda place: (place / "deep" / "weights").unlink(),
    ],
)
def test_every_change_is_seen(directory: Path, change) -> None:
    before = digest(directory)
    change(directory)
    assert digest(directory) != before


def test_of_large_files_blocks_count(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE", 100)
    monkeypatch.setattr(module, "_BLOCK", 16)
    monkeypatch.setattr(module, "_BLOCKS", 4)
    path = directory / "deep" / "weights"
    content, before = path.read_bytes(), digest(directory)
    size = len(content)
    for place, is_seen in ((0, True), (size - 1, True), ((size - 16) // 4, True), (100, False)):
        path.write_bytes(content[:place] + b"!" + content[place + 1 :])
        assert (digest(directory) != before) == is_seen, place
    path.write_bytes(content + b"!")
    assert digest(directory) != before


def test_arrays() -> None:
    one = {"a": np.zeros(4, np.float32), "b": np.ones(2)}
    others = [{"a": np.zeros(4, np.int32)}, {"a": np.zeros((2, 2), np.float32)}, {"b": np.array([1, 2.0])}]
    digests = {digest_arrays(one), *(digest_arrays({**one, **other}) for other in others)}
    assert len(digests) == 4 and digest_arrays(dict(reversed(one.items()))) == digest_arrays(one)
