"""Intervals against hand-computed values, the table, and results.json."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rpd_jax.config.validation import ConfigError
from rpd_jax.report import results
from rpd_jax.report.results import ResultRow, fingerprint, read_results, write_results
from rpd_jax.report.table import Table, render, results_table
from rpd_jax.runs import files

TEACHER = ResultRow(
    env="maniskill:PickCube-v1",
    variant="teacher:scripted",
    seeds=0,
    env_steps=0,
    teacher_calls=0,
    success_once=0.52,
    success_at_end=0.5,
    low=0.42,
    high=0.61,
    interval="episodes",
    episode_return=12.25,
    seconds=0.0,
)
STUDENT = dataclasses.replace(
    TEACHER,
    variant="rpd-mse",
    seeds=3,
    env_steps=64_000,
    teacher_calls=192_000,
    success_once=0.92,
    success_at_end=0.9,
    low=0.85,
    high=0.97,
    interval="seeds",
    episode_return=22.3,
    seconds=612.4,
)


def test_table_for_a_terminal() -> None:
    assert render(["name", "n"], [["a", "5"], ["longer", "12,000"]]) == (
        "name         n\n"
        "------  ------\n"
        "a            5\n"
        "longer  12,000"
    )  # fmt: skip


def test_table_in_markdown_escapes_bars() -> None:
    assert render(["a|b", "n"], [["x", "1"]], markdown=True) == (
        "| a\\|b |   n |\n"
        "| ---- | --: |\n"
        "| x    |   1 |"
    )  # fmt: skip


def test_a_short_row_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 cells: it must have 2"):
        render(["a", "b"], [["x"]])


def test_results_table_shows_what_a_teacher_has_and_leaves_out_what_it_has_not() -> None:
    header, _, teacher, student = results_table([TEACHER, STUDENT]).splitlines()
    assert header.split()[:2] == ["environment", "variant"]
    assert teacher.split() == [
        *("maniskill:PickCube-v1", "teacher:scripted", "-", "-", "-"),
        *("0.520", "[0.420,", "0.610]", "(over", "episodes)", "0.500", "12.25", "-"),
    ]
    assert student.split()[2:5] == ["3", "64,000", "192,000"]
    assert student.endswith("612")


def test_a_table_fits_a_narrow_terminal() -> None:
    rows = [TEACHER, STUDENT]
    whole = results_table(rows)
    assert results_table(rows, width=len(whole.splitlines()[0]) + 50) == whole
    for width in (120, 90, 70):
        lines = results_table(rows, width=width).splitlines()
        assert len(lines) == 4 and max(map(len, lines)) <= width
        assert lines[0].split()[0] in ("environment", "variant") and "success once" in lines[0]
    lines = results_table(rows, width=40).splitlines()
    assert lines[:2] == [TEACHER.variant, f"  success once  {TEACHER.success_once:.3f}"]
    assert lines[3] == STUDENT.variant and max(map(len, lines)) <= 60


def test_a_table_is_a_list_that_prints_and_shows_itself() -> None:
    noted = dataclasses.replace(STUDENT, note="<b>diverged</b> & gone")
    table = Table([TEACHER, noted])
    assert table == [TEACHER, noted] and table[1] is noted and str(table) == results_table(table)
    shown = table._repr_html_()
    assert "<th>environment</th>" in shown and "<th>note</th>" in shown and "<td>teacher:scripted</td>" in shown
    assert "&lt;b&gt;diverged&lt;/b&gt; &amp; gone" in shown and "<b>" not in shown
    assert shown.count("<tr>") == 3 and Table()._repr_html_().count("<tr>") == 1


def test_a_table_becomes_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType("pandas")
    made.DataFrame = lambda rows, columns: (rows, columns)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", made)
    rows, columns = Table([TEACHER]).to_pandas()
    assert rows == [TEACHER.to_json()] and columns == list(rows[0])
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    with pytest.raises(ImportError, match="pip install pandas"):
        Table([TEACHER]).to_pandas()


@pytest.mark.parametrize(
    ("seeds", "interval", "cell"),
    [
        (3, "seeds", "[0.850, 0.970]"),
        (2, "range", "0.850 to 0.970 (range)"),
        (1, "episodes", "[0.850, 0.970] (over episodes, one seed)"),
        (3, "bootstrap", "[0.850, 0.970] (bootstrap)"),
    ],
)
def test_the_table_says_what_an_interval_is(seeds: int, interval: str, cell: str) -> None:
    row = ResultRow(**vars(STUDENT) | {"seeds": seeds, "interval": interval})
    cells = [x.strip() for x in results_table([row], markdown=True).splitlines()[2].split("|")]
    assert cells[3] == str(seeds) and cells[7] == cell


@pytest.mark.parametrize(("row", "kind"), [(TEACHER, "episodes"), (STUDENT, "bootstrap")])
def test_results_of_older_versions_are_read_and_their_intervals_are_not_promoted(
    tmp_path: Path, row: ResultRow, kind: str
) -> None:
    path = tmp_path / "results.json"
    write_results(path, [row], {})
    stored = json.loads(path.read_text())
    del stored["rows"][0]["interval"]
    path.write_text(json.dumps(stored))
    assert read_results(path).rows[0] == ResultRow(**vars(row) | {"interval": kind})


def test_results_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    written = write_results(path, [TEACHER, STUDENT], {"seeds": [0, 1, 2]})
    read = read_results(path)
    assert read == written
    assert read.rows == (TEACHER, STUDENT)
    assert [row.is_teacher for row in read.rows] == [True, False]
    assert read.versions["numpy"] == np.__version__


def test_results_json_has_exactly_the_documented_keys(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", [STUDENT], {})
    stored = json.loads((tmp_path / "results.json").read_text())
    assert sorted(stored) == ["config", "fingerprint", "rows", "teacher_checkpoint", "versions"]
    assert list(stored["rows"][0]) == [
        "env",
        "variant",
        "seeds",
        "env_steps",
        "teacher_calls",
        "success_once",
        "success_at_end",
        "low",
        "high",
        "interval",
        "return",
        "seconds",
        "note",
    ]


def test_numpy_values_are_written_as_plain_ones(tmp_path: Path) -> None:
    row = ResultRow(**vars(STUDENT) | {"seeds": np.int64(3), "success_once": np.float32(0.5), "low": np.float64(0.4)})
    write_results(tmp_path / "results.json", [row], {})
    assert read_results(tmp_path / "results.json").rows[0].success_once == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": -1}, "seeds=-1"),
        ({"seeds": 2.5}, "seeds=2.5"),
        ({"env_steps": True}, "env_steps=True"),
        ({"success_once": 1.2}, "success_once=1.2"),
        ({"success_at_end": "0.5"}, "success_at_end='0.5'"),
        ({"return": float("nan")}, "episode_return=nan"),
        ({"low": 0.99}, "low=0.99.*at most high=0.97"),
        ({"seconds": -1.0}, "seconds=-1.0"),
        ({"variant": ""}, "variant=''"),
        ({"interval": "95 %"}, "interval='95 %'.*one of seeds, range, episodes"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResultRow.from_json(STUDENT.to_json() | change)


def test_missing_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    row = STUDENT.to_json()
    del row["low"]
    with pytest.raises(ValueError, match=r"missing keys \['low'\] and unknown keys \['extra'\]"):
        ResultRow.from_json(row | {"extra": 1})
    path = tmp_path / "results.json"
    path.write_text('{"rows": [], "fingerprint": ""}')
    with pytest.raises(ValueError, match=r"missing keys \['versions', 'config'\]"):
        read_results(path)


EMPTY = {"rows": [], "fingerprint": "", "versions": {}, "config": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "is not JSON"),
        (json.dumps(EMPTY | {"rows": None}), "rows must be a list"),
        (json.dumps(EMPTY | {"rows": [1]}), "rows must be a list"),
        (json.dumps(EMPTY | {"rows": [STUDENT.to_json() | {"return": math.nan}]}), "episode_return=nan"),
    ],
)
def test_a_file_that_is_no_results_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ConfigError, match=f"results.json.*{message}"):
        read_results(tmp_path / "results.json")


def test_fingerprint_tells_configs_and_versions_apart_and_ignores_order() -> None:
    base = fingerprint({"a": 1, "b": [2]}, {"jax": "0.10.2"})
    assert len(base) == 12
    assert base == fingerprint({"b": (2,), "a": 1}, {"jax": "0.10.2"})
    assert base != fingerprint({"a": 1, "b": [3]}, {"jax": "0.10.2"})
    assert base != fingerprint({"a": 1, "b": [2]}, {"jax": "0.11.2"})
    assert base != fingerprint({"a": 1, "b": [2]}, {"jax": "0.10.2"}, "teacher's digest")


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PACKAGES", ("numpy", "no-such-package-here"))
    assert sorted(results.package_versions()) == ["numpy", "python"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, [STUDENT], {})
    before = path.read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(path, [STUDENT], {"x": float("nan")})
    with pytest.raises(KeyboardInterrupt), files.atomic_path(path) as temporary:
        temporary.write_text("half of")
        raise KeyboardInterrupt
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
