"""Directories: who may write, what is deleted, and what a kill leaves behind."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rpd_jax.config import Config
from rpd_jax.config.validation import ConfigError
from rpd_jax.runs import directory as run_directory
from rpd_jax.runs import output_directory
from rpd_jax.runs.lock import LOCK_FILE, DirectoryLock
from rpd_jax.runs.output_directory import Claim, Kind, check_path

KIND = Kind("output", "a run", "config.json", frozenset({"seed"}), ("log", "tree", "film.mp4"), ("log",))
OURS = {"config.json": '{"seed": 1}', "log": "x", "tree/a/b": "x"}
ROOT = Path(__file__).parents[1]


def make(path: Path, files: dict[str, str]) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def claim(path: Path, resume: bool = False, overwrite: bool = False) -> Claim:
    claimed = Claim(path, KIND, lambda: check_path(path, KIND, resume, overwrite))
    if not (resume and (path / KIND.file).is_file()):
        claimed.clear()
    return claimed


@pytest.mark.parametrize(
    ("files", "resume", "overwrite", "neither"),
    [
        ({}, "empty", "empty", "empty"),
        (OURS, "kept", "empty", "resume=True, overwrite=True or another"),
        # what kills leave
        (
            {LOCK_FILE: "{", ".config.0a1b2c3d.json": "{", ".film.0a1b2c3d.mp4": "", "set_aside.1/log": "x"},
            *["empty"] * 3,
        ),
        (
            {".tree.0a1b2c3d/a": "x", "config.json": '{"seed": 1}'},
            "kept",
            "empty",
            "resume=True, overwrite=True or another",
        ),
        ({"log": "x", "tree/a": "x"}, "aside", "aside", "resume=True, overwrite=True or another"),
        # other programs' directories
        ({"config.json": '{"model": "bert"}', "weights.bin": "x"}, "kept", "of another program", "or another path"),
        ({"config.json": '{"seed": ', "log": "x"}, "kept", "of another program, or damaged", "or another path"),
        ({"log": "x", "thesis.tex": "x"}, "or another path", "not a run .*holds 'thesis.tex'", "or another path"),
        ({"tree/a": "x"}, "or another path", r"not a run .*holds 'tree'", "or another path"),
        ({"config.json/a": "x"}, *["its config.json is no file"] * 3),
    ],
)
def test_what_may_be_taken(tmp_path: Path, files: dict[str, str], resume: str, overwrite: str, neither: str) -> None:
    flags = {"resume": resume, "overwrite": overwrite, "neither": neither}
    for flag, outcome in flags.items():
        path = make(tmp_path / flag, files)
        before = sorted(path.rglob("*"))
        if outcome not in ("empty", "kept", "aside"):
            with pytest.raises(ConfigError, match=outcome):
                claim(path, flag == "resume", flag == "overwrite")
            assert sorted(path.rglob("*")) == before
            continue
        with claim(path, flag == "resume", flag == "overwrite"):
            names = {name for name in os.listdir(path) if not name.startswith("set_aside.")}
            kept = {name.split("/")[0] for name in files if not name.startswith(".")} if outcome == "kept" else set()
            assert names == {LOCK_FILE} | kept
        if outcome == "aside":
            assert {str(p.relative_to(path / "set_aside.1")) for p in path.rglob("*") if p.is_file()} == set(files)


@pytest.mark.parametrize("algorithm", ["algorithm", "ppo"])  # as the last version called that part
def test_a_run_is_known_by_its_config(tmp_path: Path, algorithm: str) -> None:
    config = Config().to_dict()
    config[algorithm] = config.pop("algorithm")
    assert run_directory.KIND.is_in(make(tmp_path, {"config.json": json.dumps(config)}))


def test_both_flags_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contradict"):
        check_path(tmp_path, KIND, resume=True, overwrite=True)


def test_overwriting_deletes_what_is_ours_and_names_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = make(tmp_path / "elsewhere", {"precious": "x"})
    path = make(tmp_path / "run", OURS | {"mine.txt": "x"})
    (path / "film.mp4").symlink_to(elsewhere)
    claim(path, overwrite=True).close()
    assert os.listdir(path) == ["mine.txt"] and (elsewhere / "precious").exists()
    assert "mine.txt" in caplog.text
    link = tmp_path / "link"
    link.symlink_to(make(path, OURS))
    with pytest.raises(ConfigError, match=r"link' will not be overwritten: it is a symbolic link to '.*/run'"):
        claim(link, overwrite=True)
    assert (path / "log").exists()
    claim(link, resume=True).close()


@pytest.mark.parametrize("stop", range(3))
def test_killed_while_overwriting_either_flag_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    removed = []

    def remove(path: Path) -> None:
        if len(removed) == stop:
            raise KeyboardInterrupt
        removed.append(path.name)
        output_directory.shutil.rmtree(path) if path.is_dir() else path.unlink()

    for flag in ("resume", "overwrite"):
        path = make(tmp_path / flag, OURS)
        removed.clear()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(output_directory, "remove", remove)
            claim(path, overwrite=True)
        assert "config.json" not in removed
        claim(path, flag == "resume", flag == "overwrite").close()
        assert (path / "config.json").exists() == (flag == "resume") and not (path / "set_aside.1").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\0b", "NUL character"),
        ("x" * 300, "name too long"),
        ("file/sub", "/file' is a file"),
        ("file", "is a file"),
    ],
)
def test_paths_that_cannot_be_made_are_one_line(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=message) as error:
        claim(tmp_path / path)
    assert "\n" not in str(error.value) and "output=" in str(error.value)


def test_a_directory_that_was_not_used_goes_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    claim(path).close()
    assert not path.exists()


HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from rpd_jax.runs.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]), "output", "a run")
child = subprocess.Popen(["sleep", "60"])
if os.fork() == 0:
    print(child.pid, os.getpid(), flush=True)  # from the child: by now it has let go of the lock
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Callable[[], tuple[subprocess.Popen, list[int]]]:
    """Starts a process that holds the lock, with children that outlive it."""
    children: list[int] = []

    def start() -> tuple[subprocess.Popen, list[int]]:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        children.extend(map(int, process.stdout.readline().split()))
        return process, children

    yield start
    for child in children:
        os.kill(child, signal.SIGKILL)


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path: Path, holder: Callable) -> None:
    process, children = holder()
    found = json.loads((tmp_path / LOCK_FILE).read_text())
    assert found["pid"] == process.pid and found["what"] == "a run"
    with pytest.raises(
        ConfigError, match=rf"output='{tmp_path}' is in use by process {process.pid} on host .* since 20"
    ):
        DirectoryLock(tmp_path, "output", "a run")
    process.kill()
    process.wait()
    process.stdout.close()
    assert all(Path(f"/proc/{child}").exists() for child in children)  # which have not inherited the lock
    DirectoryLock(tmp_path, "output", "a run").close()
    assert not (tmp_path / LOCK_FILE).exists()


def test_one_process_has_a_directory_once(tmp_path: Path) -> None:
    make(tmp_path, OURS)
    with claim(tmp_path, resume=True):
        for resume, overwrite in ((True, False), (False, True)):
            with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} "):
                claim(tmp_path, resume, overwrite)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "log", "tree"}


def test_where_nothing_can_be_locked_it_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*unused: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with claim(tmp_path / "run") as path:
        assert path.is_dir()
    assert "cannot be locked here" in caplog.text


RACE = """
import sys
from pathlib import Path
from rpd_jax.runs.output_directory import Claim, Kind, check_path
from rpd_jax.config.validation import ConfigError
path, kind = Path(sys.argv[1]), Kind("output", "a run", "config.json", frozenset({"seed"}), ("log",))
print("ready", flush=True)
sys.stdin.readline()
won = 0
for number in range(200):
    each = path / str(number)
    try:
        with Claim(each, kind, lambda: check_path(each, kind, False, False)):
            (each / "config.json").write_text('{"seed": 1}')
            won += 1
    except ConfigError:
        pass
print(won)
"""


def test_of_processes_that_race_for_a_directory_one_wins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    assert sum(won) == 200, won
