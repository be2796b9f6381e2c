"""What is gathered of runs and comparisons: numbers against those worked out here, damage in one line."""

from __future__ import annotations

import json
import math
import socket
import subprocess
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
from children import run as run_python

from rpd_jax.config.validation import ConfigError
from rpd_jax.report.intervals import student_t, success_rates
from rpd_jax.view import comparison, curves, run
from rpd_jax.view.places import Place


def gathered(directory: Path, points: int = 200) -> dict[str, Any]:
    found = run.gather(Place(directory.name, directory, False), points)
    json.dumps(found, allow_nan=False)
    return found


def curve_of(found: dict[str, Any], metric: str, variant: str) -> dict[str, Any]:
    (curve,) = [each for each in found["metrics"][metric] if each["variant"] == variant]
    return curve


def test_means_and_intervals_are_the_reports(tmp_path: Path) -> None:
    found = gathered(made_up.run(tmp_path / "run"))
    assert found["problems"] == [] and found["state"] == "finished"
    curve = curve_of(found, "eval/success_once", "rpd-mse")
    rates = np.array([[0.7], [0.75], [0.8]])  # of the three seeds at the end
    band = success_rates((rates * made_up.EPISODES).round().T, np.full((1, 3), made_up.EPISODES))
    assert curve["x"] == [200, 400, 600, 800] and curve["queries"] == [100, 200, 300, 400]
    assert curve["mean"][-1] == pytest.approx(0.75)
    assert (curve["low"][-1], curve["high"][-1]) == pytest.approx((band.low[0], band.high[0]), rel=1e-3)
    assert [seed[-1] for seed in curve["seeds"]] == [0.7, 0.75, 0.8]
    std = curve_of(found, "update/std", "ppo")
    low, high = student_t([[0.5], [0.6], [0.7]])
    assert (std["mean"][0], std["low"][0], std["high"][0]) == pytest.approx((0.6, low[0], high[0]), rel=1e-3)
    assert curve_of(found, "time/iteration", "")["mean"] == [0.5] * 8
    assert "update/label_fit" not in found["metrics"]  # never known
    assert "queries" not in curve_of(found, "eval/success_once", "ppo")


def test_a_run_that_is_not_done_has_the_same_curve(tmp_path: Path) -> None:
    done = gathered(made_up.run(tmp_path / "done"))
    running = gathered(made_up.run(tmp_path / "running", done=False))
    a, b = (curve_of(each, "eval/success_once", "rpd-mse") for each in (done, running))
    assert running["state"] == "800 of 800 steps" and running["rows"] == []
    assert {name: a[name] for name in b} == b


def test_two_seeds_have_a_range_and_one_has_nothing(tmp_path: Path) -> None:
    two = curve_of(gathered(made_up.run(tmp_path / "two", seeds=(0, 1))), "update/std", "ppo")
    assert (two["low"][0], two["high"][0]) == (0.5, 0.6)
    one = curve_of(gathered(made_up.run(tmp_path / "one", seeds=(0,))), "update/std", "ppo")
    assert "low" not in one and "seeds" not in one


def test_a_long_run_stays_light(tmp_path: Path) -> None:
    directory = made_up.run(tmp_path / "run", rows=10_000, done=False)
    assert (directory / "metrics.jsonl").stat().st_size > 5e6
    found = gathered(directory)
    curve = curve_of(found, "update/std", "ppo")
    assert len(curve["x"]) == 200 and curve["x"][-1] == 1_000_000
    evaluated = curve_of(found, "eval/success_once", "ppo")
    assert len(evaluated["x"]) == 200 and evaluated["x"][-1] == 1_000_000
    assert len(json.dumps(found)) < 100_000


def test_points_are_means_of_neighbours() -> None:
    values = np.arange(10.0)
    (curve,) = curves.of_metric("update/loss", {"ppo": {0: values}}, values * 10, points=3, episodes=0)
    assert curve["x"] == [20, 50, 90] and curve["mean"] == [1, 4, 7.5]
    (curve,) = curves.of_metric("eval/return", {"ppo": {0: values}}, values * 10, points=3, episodes=0)
    assert curve["x"] == [0, 40, 90] and curve["mean"] == [0, 4, 9]  # evaluations are not mixed


def test_alarms_and_notes(tmp_path: Path) -> None:
    found = gathered(made_up.run(tmp_path / "run", note="std grew from 0.50 to 2.00"))
    rang = {"alarm": "std growth", "variant": "rpd-mse", "seeds": [0], "of": 3, "step": 300}
    assert found["alarms"] == [rang]
    assert {row["note"] for row in found["rows"] if not row["teacher"]} == {"std grew from 0.50 to 2.00"}
    assert found["teacher"] == {"variant": "teacher:scripted", "value": 0.5, "low": 0.4, "high": 0.6}


def test_settings_by_name() -> None:
    config = {"a": {"b": 0.5, "c": [1, 2]}, "variants": [{"name": "ppo", "terms": {"mse": 1}}], "long": "x" * 1000}
    found = run.settings(config)
    assert found["a.b"] == "0.5" and found["a.c"] == "[1, 2]" and found["variants[ppo].terms.mse"] == "1"
    assert len(found["long"]) < 400


def test_a_damaged_log_keeps_what_was_before(tmp_path: Path) -> None:
    directory = made_up.run(tmp_path / "run", done=False)
    lines = (directory / "metrics.jsonl").read_text().splitlines(keepends=True)
    (directory / "metrics.jsonl").write_text("".join([*lines[:4], "{broken\n", *lines[5:]]))
    found = gathered(directory)
    assert curve_of(found, "update/std", "ppo")["x"] == [100, 200, 300, 400]
    assert found["problems"] == ["metrics.jsonl is damaged: line 5 is no row of metrics; what follows is left out"]


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path) -> None:
    directory = made_up.run(tmp_path / "run", done=False)
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 900, "upd')
    assert gathered(directory)["problems"] == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("results.json", "[1, 2]", "results.json is damaged"),
        ("results.json", '{"rows": [{"env": 3}]}', "results.json"),
        ("config.json", "{" * 5000, "config.json is damaged"),
        ("curves.json", '[{"variant": "ppo"}]', "curves.json is damaged: KeyError"),
        ("curves.json", "\x00\xff", "curves.json is damaged"),
        ("metrics.jsonl", '{"step": 1, "eval/success_once/a/0": 7, "eval/success_once/a/1": 7, '
         '"eval/success_once/a/2": 7}\n', "eval/success_once is left out"),
    ],
)  # fmt: skip
def test_each_damaged_file_is_one_line(tmp_path: Path, file: str, text: str, problem: str) -> None:
    directory = made_up.run(tmp_path / "run")
    (directory / file).write_text(text)
    found = gathered(directory)
    assert len(found["problems"]) == 1 and found["problems"][0].startswith(file)
    assert problem in found["problems"][0] and "\n" not in found["problems"][0]
    assert str(tmp_path) not in found["problems"][0]
    assert found["metrics"] or file == "metrics.jsonl"


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", "9" * 400, "true", '"text"', "[1]", "1e308"])
def test_no_value_breaks_the_page(tmp_path: Path, value: str) -> None:
    directory = made_up.run(tmp_path / "run", done=False)
    names = "".join(f', "update/loss/ppo/{seed}": {value}' for seed in range(3))
    with (directory / "metrics.jsonl").open("a") as file, np.errstate(all="ignore"):
        file.write(f'{{"step": 900{names}}}\n')
        file.write(f'{{"step": {"9" * 300}{names}}}\n')
        file.flush()
        assert curve_of(gathered(directory), "update/std", "ppo")["x"][:8] == [100 * (row + 1) for row in range(8)]


def test_a_comparison(tmp_path: Path) -> None:
    directory = made_up.comparison(tmp_path / "smoke")
    found = comparison.gather(Place("smoke", directory, True))
    json.dumps(found, allow_nan=False)
    arm = found["cases"][0]["arms"][1]
    band = success_rates([[18, 16, 20]], [[20, 20, 20]])
    assert arm["score"] == 0.9 and arm["rising"] and arm["curve"]["mean"] == [0.2, 0.9]
    assert arm["curve"]["low"][-1] == pytest.approx(band.low[0], rel=1e-3)
    assert [(each["coefficient"], each["score"]) for each in arm["tuning"]] == [(1, 0.5), (5, 0.9)]
    assert found["cases"][0]["arms"][0]["tuning"] == [{"setting": "ppo", "coefficient": None, "score": 0.15}]
    assert found["claims"][0]["verdict"] == "holds" and found["problems"] == ["an arm's gradient is zero"]
    profile = {each["variant"]: each for each in found["profile"]}["ppo"]
    assert profile["mean"][profile["x"].index(0.15)] == pytest.approx(2 / 3, abs=1e-3)


def test_a_variant_of_somebody_elses_has_no_coefficient(tmp_path: Path) -> None:
    stored = made_up.stored()
    stored["cases"][0]["arms"]["ppo"]["tuning"] = {"theirs:x=1": [0.5]}
    found = comparison.gather(Place("smoke", made_up.comparison(tmp_path / "smoke", **stored), True))
    assert found["cases"][0]["arms"][0]["tuning"][0]["coefficient"] is None


@pytest.mark.parametrize(
    "changes", [{"cases": 3}, {"cases": [{}]}, {"claims": None}, {"problems": 1}, {"over_all": {"ppo": []}}]
)
def test_a_damaged_comparison_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    directory = made_up.comparison(tmp_path / "smoke", **changes)
    with pytest.raises(ConfigError, match=r"^comparison\.json is damaged: .*$"):
        comparison.gather(Place("smoke", directory, True))


@pytest.mark.parametrize("curve", [[[math.nan, 0.5]], [], [[0.1, 0.2, 0.3]], [[0.1, 7.0]] * 3, [["a", "b"]]])
def test_impossible_curves_of_a_comparison(tmp_path: Path, curve: Any) -> None:
    stored = made_up.stored()
    stored["cases"][0]["arms"]["ppo"]["curve"] = curve
    directory = made_up.comparison(tmp_path / "smoke", **stored)
    with pytest.raises(ConfigError, match=r"comparison\.json is damaged"):
        comparison.gather(Place("smoke", directory, True))


def test_another_persons_run_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"name": "openvla", "path": "hf://theirs/model", "python": "their/python", "address": "theirs:1"}
    directory = made_up.run(tmp_path / "run", config={"teacher": theirs, "imports": ["theirs"]})

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("something was started or connected to")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert gathered(directory)["settings"]["teacher.path"] == "hf://theirs/model"


def test_no_teacher_is_imported() -> None:
    done = run_python("-c", "import rpd_jax.view.server, sys; print({name.partition('.')[0] for name in sys.modules})")
    assert done.returncode == 0 and "rpd_jax" in done.stdout, done.stderr
    assert not {"teachers", "torch"} & {name.strip("{}', \n") for name in done.stdout.split(",")}
