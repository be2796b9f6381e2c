"""An export that stops halfway is never taken for a whole one, and can be made again."""

import contextlib
import json
from types import SimpleNamespace

import pytest

from rpd_jax.config import ConfigError
from rpd_jax.export import files

NAMES = [files.STABLEHLO, files.ONNX, files.RUNNER, files.GUARDS, files.MANIFEST]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Students are numbers, and their programs a few bytes."""
    monkeypatch.setattr(
        files, "_programs", lambda student, *_: {name: f"{name} {student}".encode() for name in NAMES[:-1]}
    )
    monkeypatch.setattr(files, "make_manifest", lambda student, hashes: SimpleNamespace(hashes=hashes))
    described = dict.fromkeys(files.KIND.keys)
    write = lambda path, manifest: path.write_text(json.dumps(described | {"files": manifest.hashes}))  # noqa: E731
    monkeypatch.setattr(files, "write_manifest", write)


def stop_at(monkeypatch, name):
    """Has the export stop, as at Ctrl-C, when it has written this file but for its name."""
    atomic_path = files.atomic_path

    @contextlib.contextmanager
    def stopping(path):
        with atomic_path(path) as temporary:
            yield temporary
            if path.name == name:
                raise KeyboardInterrupt

    monkeypatch.setattr(files, "atomic_path", stopping)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_stopped_at_any_file_it_can_be_made_again(name, tmp_path, monkeypatch):
    target = tmp_path / "export"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, name)
        files.export_student(1, target)
    written = {each.name for each in target.iterdir()} if target.exists() else set()
    assert written == set(NAMES[: NAMES.index(name)])  # whole files, no manifest, nothing temporary
    if written:
        with pytest.raises(ConfigError, match="exists and is not empty: use overwrite=True"):
            files.export_student(1, target)
    files.export_student(1, target, overwrite=True)
    assert {each.name for each in target.iterdir()} == set(NAMES)


def test_stopped_while_replacing_another_the_manifest_does_not_fit(tmp_path, monkeypatch):
    target = tmp_path / "export"
    files.export_student(1, target)
    manifest = (target / files.MANIFEST).read_text()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, files.ONNX)
        files.export_student(2, target, overwrite=True)
    assert (target / files.STABLEHLO).read_bytes().endswith(b"2") and (target / files.ONNX).read_bytes().endswith(b"1")
    assert (target / files.MANIFEST).read_text() == manifest  # whose hash of the first file the runner refuses
    files.export_student(2, target, overwrite=True)
    assert (target / files.ONNX).read_bytes().endswith(b"2")


@pytest.mark.parametrize("left", [".student.0a1b2c3d.stablehlo", ".student.0a1b2c3d.json"])
def test_killed_it_can_be_made_again_too(left, tmp_path):
    """Then nobody removes the file that was being written."""
    (tmp_path / left).write_bytes(b"half")
    files.export_student(1, tmp_path, overwrite=True)
    assert (tmp_path / files.MANIFEST).is_file()


def test_other_directories_are_never_overwritten(tmp_path):
    for names in ([files.ONNX, "thesis.tex"], [files.RUNNER]):
        directory = tmp_path / names[-1]
        directory.mkdir()
        for name in names:
            (directory / name).write_text("x")
        with pytest.raises(ConfigError, match="it is not an export"):
            files.export_student(1, directory, overwrite=True)
