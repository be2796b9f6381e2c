"""Which directories are found, and which of their files are read."""

from __future__ import annotations

import os
from pathlib import Path

import made_up
import pytest

from rpd_jax.config.validation import ConfigError
from rpd_jax.view import places


def test_runs_and_comparisons_are_found_below(tmp_path: Path) -> None:
    for name in ("one", "deep/er/two", "one/evaluation"):
        made_up.run(tmp_path / "runs" / name)
    whole = made_up.comparison(tmp_path / "runs" / "compare" / "smoke")
    made_up.run(whole / "near" / "final-200")  # part of the comparison
    made_up.run(tmp_path / "runs" / "one" / "checkpoints" / "not-a-run")
    found, omitted = places.find([tmp_path / "runs"])
    assert [place.name for place in found] == ["deep/er/two", "one", "one/evaluation", "smoke"]
    assert [place.is_comparison for place in found] == [False, False, False, True] and omitted == 0
    assert [place.name for place in places.find([whole / "near"])[0]] == ["final-200"]


def test_links_to_other_directories_are_not_followed(tmp_path: Path) -> None:
    made_up.run(tmp_path / "elsewhere" / "secret")
    made_up.run(tmp_path / "runs" / "own")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    assert [place.name for place in places.find([tmp_path / "runs"])[0]] == ["own"]


def test_only_the_newest_of_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 2)
    for age, name in enumerate(("c", "b", "a")):
        os.utime(made_up.run(tmp_path / name), (1000 - age, 1000 - age))
    found, omitted = places.find([tmp_path])
    assert [place.name for place in found] == ["b", "c"] and omitted == 1


def test_nothing_to_see_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to see"):
        places.find([tmp_path])
    with pytest.raises(ConfigError, match="must be a directory with runs"):
        places.find([tmp_path / "nowhere"])


def test_files_outside_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    run = made_up.run(tmp_path / "run")
    (run / "inner.json").symlink_to(run / "config.json")
    assert places.inside(run, "inner.json") == run / "inner.json"
    assert places.inside(run, "absent.json") is None
    (run / "link.json").symlink_to(tmp_path / "secret.json")
    os.mkfifo(run / "pipe.json")
    for name, problem in {
        "link.json": "leads out of its directory",
        "../secret.json": "leads out",
        "pipe.json": "no regular file",
    }.items():
        with pytest.raises(ConfigError, match=problem):
            places.inside(run, name)
    with pytest.raises(ConfigError, match="more than 5"):
        places.inside(run, "config.json", largest=5)
