"""The runner of the GPU script, with parts that stand in for benchmarks."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import Outcome, Part


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a part that runs some code with the arguments given."""
    monkeypatch.setattr(gpu, "ROOT", tmp_path)  # `python -m` finds its modules there

    def make(name: str, code: str, *arguments: str, **more: object) -> Part:
        (tmp_path / f"stand_in_{name}.py").write_text(f"import json, subprocess, sys, time\n{code}\n")
        return Part(name, 1.0, (f"stand_in_{name}", *arguments), **more)

    return make


GOOD = "open(sys.argv[1], 'w').write(json.dumps({'figures': {'x': 2.0}, 'series': {'failed': ['big: no memory']}}))\n"


def test_every_part_is_accounted_for(part, tmp_path: Path) -> None:
    """One part fails, one runs over its time and leaves a child, some cannot run: the others are not disturbed."""
    alive = tmp_path / "child"
    child = f"import os, time; open({str(alive)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parts = [
        part("good", GOOD, "{json}"),
        part("bad", GOOD + "raise ValueError('no such thing')", "{json}"),
        part("long", GOOD + f"subprocess.run([sys.executable, '-c', {child!r}])", "{json}"),
        part("lacking", "", packages=("json", "no_such_package.at_all")),
        part("needs", "", gpu=("jax", "torch")),
        part("after", "print('3 passed')"),
    ]
    seen: list[int] = []
    outcomes = gpu.run_parts(parts, 12.0, False, {"torch"}, lambda so_far: seen.append(len(so_far)), least=0.1)
    by_name = {outcome.name: outcome for outcome in outcomes}
    assert seen == [1, 2, 3, 4, 5, 6]
    assert by_name["good"].state == "done" and by_name["good"].figures == {"x": 2.0}
    assert by_name["good"].reason == "big: no memory"
    assert (by_name["bad"].state, by_name["bad"].reason) == ("failed", "status 1: ValueError: no such thing")
    assert by_name["long"].state == "out of time"
    assert by_name["bad"].figures == by_name["long"].figures == {"x": 2.0}  # what it had measured before
    assert (by_name["lacking"].state, by_name["lacking"].reason) == (
        "skipped",
        "missing package: no_such_package.at_all",
    )
    assert (by_name["needs"].state, by_name["needs"].reason) == ("skipped", "no GPU that jax can use")
    assert (by_name["after"].state, by_name["after"].reason) == ("done", "3 passed")
    pid = int(alive.read_text())
    deadline = time.monotonic() + 1
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Also not as one that has ended and that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_time_that_a_part_does_not_need_goes_to_the_next(part) -> None:
    parts = [part(name, "pass") for name in ("a", "b")] + [part("skipped", "", gpu=("jax",))]
    first, second, _ = gpu.run_parts(parts, 20.0, False, (), lambda _: None)
    assert first.limit_s == pytest.approx(10.0, abs=0.1)
    assert second.limit_s == pytest.approx(20.0 - first.seconds, abs=0.5)
    late = gpu.run_parts(parts, 0.5, False, (), lambda _: None)
    assert late[0].state == "skipped" and late[0].reason.startswith("out of time")


def test_arguments_are_filled_in_and_tiny_ones_added(part) -> None:
    outcome = gpu.run_part(part("echo", "print(sys.argv[1:])", "--seconds={seconds}", tiny=("--tiny",)), 10.0, True)
    assert outcome.reason == "['--seconds=9.0', '--tiny']"


def test_the_table_names_every_part() -> None:
    text = gpu.table([Outcome("loop", "done", "", 3.0, 9.0, {"x": 0.5}), Outcome("bridge", "skipped", "no GPU")])
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["loop", "done", "3.0"],
        ["x", "0.5"],
        ["bridge", "skipped", "0.0", "no", "GPU"],
    ]


def test_the_parts_are_programs_that_exist() -> None:
    for each in gpu.PARTS:
        assert gpu.is_installed(each.arguments[0])


def test_the_script_writes_its_file(
    part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "PARTS", (part("good", GOOD, "{json}"), part("cuda", "", gpu=("jax",))))
    monkeypatch.setattr(gpu, "probe", lambda: set())
    monkeypatch.setattr("sys.argv", ["gpu", "--minutes=0.5", f"--json={tmp_path / 'gpu.json'}"])
    gpu.main()
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["figures"] == {"good/x": 2.0} and record["series"]["tiny"] == [True]
    assert [(each["name"], each["state"]) for each in record["series"]["parts"]] == [
        ("good", "done"),
        ("cuda", "skipped"),
    ]
    assert "JAX sees no GPU" in capsys.readouterr().out
