"""What benchmarks write, and the arithmetic of their repeats."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from pathlib import Path

import pytest

from benchmarks import common


def test_figures_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common.write("update", {"jax_seconds": 1.25, "ratio": 2}, tmp_path / "update.json")
    record = json.loads((tmp_path / "update.json").read_text())
    assert list(record) == ["name", "date", "machine", "figures"]
    assert record["name"] == "update"
    assert record["figures"] == {"jax_seconds": 1.25, "ratio": 2.0}
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", record["date"])
    assert common.machine() in record["machine"] and "jax " in record["machine"]
    assert capsys.readouterr().out.split() == ["jax_seconds", "1.25", "ratio", "2"]


def test_series_are_written_and_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common.write("update", {"x": 1.0}, tmp_path / "update.json", {"curve": [0.0, 0.5]})
    assert json.loads((tmp_path / "update.json").read_text())["series"] == {"curve": [0.0, 0.5]}
    assert capsys.readouterr().out.split() == ["x", "1"]


def test_without_a_path_figures_are_only_printed(capsys: pytest.CaptureFixture[str]) -> None:
    common.write("update", {"x": 1.0}, None)
    assert capsys.readouterr().out.split() == ["x", "1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_figures_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match=r"figures\['x'\]=(nan|inf) cannot be written"):
        common.write("update", {"x": value}, tmp_path / "update.json")
    assert list(tmp_path.iterdir()) == []


def test_the_machine_is_described_but_not_named() -> None:
    words = common.machine()
    assert f"{len(os.sched_getaffinity(0))} cores" in words and "GiB" in words
    assert platform.node() not in words.split(", ")


def test_timed_warms_up_and_repeats() -> None:
    calls: list[int] = []
    seconds = common.timed(lambda: calls.append(1), repeats=3, warmup=2)
    assert len(calls) == 5
    assert len(seconds) == 3 and min(seconds) >= 0


def test_median_and_spread_by_hand() -> None:
    assert common.median([3.0, 1.0, 2.0]) == 2.0
    assert common.spread([3.0, 1.0, 2.0]) == 1.0  # (3 - 1) / 2


def test_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["update", "--quick", "--json", "figures.json"])
    flags = common.parse_args("update")
    assert flags.quick and flags.json == Path("figures.json")
