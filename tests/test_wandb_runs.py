"""Runs at Weights & Biases: the real package, which writes files as long as it is offline, and their records."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rpd_jax.config import ConfigError
from rpd_jax.runs.metrics import make_writers
from rpd_jax.runs.series import About, Learner, Outcome

ABOUT = About(
    "stack",
    {"algorithm": {"gamma": 0.9}},
    (Learner("ppo", 0), Learner("rpd", 3, {"mse": 1.0})),
    ("toy:Reach-v0", "debug"),
)
BLOCK, WHOLE_RECORD, LAST_PART = 32768, 1, 4  # of its files


def records(path: Path) -> Iterator[Any]:
    """What a run's file holds: parts with a head each (checksum, length, kind), which do not cross blocks."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        found += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (WHOLE_RECORD, LAST_PART):
            yield Record.FromString(found)
            found = b""


def ended(path: Path) -> list[Any]:
    """The records of a run that was finished: W&B writes the last of them soon after that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")


def read(directory: Path) -> dict[str, list[tuple[Any, dict[int, dict[str, Any]]]]]:
    """Name of a run there -> for each session its description and its rows, step -> metrics."""
    runs: dict[str, list[tuple[Any, dict[int, dict[str, Any]]]]] = {}
    for path in sorted(directory.glob("wandb/offline-run-*/*.wandb")):
        everything = ended(path)
        (run,) = (each.run for each in everything if each.WhichOneof("record_type") == "run")
        rows = {}
        for each in everything:
            if each.WhichOneof("record_type") == "history":
                items = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in each.history.item
                }
                rows[each.history.step.num] = {key: value for key, value in items.items() if not key.startswith("_")}
        runs.setdefault(run.display_name, []).append((run, rows))
    return runs


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'rpd_jax[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.usefixtures("offline")
def test_members_are_runs_of_a_group_and_a_resumed_run_goes_on_with_them(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "curves.png")
    writers = make_writers(tmp_path, False, "project", ABOUT)
    writers.write(10, {"update/loss/ppo/0": 1.0, "update/loss/rpd/3": 2.0, "time/seconds": 5.0, "x": float("nan")})
    writers.write(20, {"update/loss/ppo/0": 1.5})
    writers.close()
    resumed = make_writers(tmp_path, False, "project", ABOUT)
    resumed.truncate(0, 20)
    resumed.write(30, {"update/loss/rpd/3": 3.0})
    resumed.finish(30, Outcome({"eval/return/rpd/3": 7.0}, files=(tmp_path / "curves.png",)))
    resumed.close()

    runs = read(tmp_path)
    assert set(runs) == {"stack", "ppo/seed-0", "rpd/seed-3"}
    (first, before), (second, after) = runs["rpd/seed-3"]
    assert first.run_id == second.run_id
    assert before == {10: {"update/loss": 2.0}} and after == {30: {"update/loss": 3.0, "eval/return": 7.0}}
    assert runs["ppo/seed-0"][0][1] == {10: {"update/loss": 1.0}, 20: {"update/loss": 1.5}}
    assert runs["stack"][0][1] == {10: {"time/seconds": 5.0}}
    assert runs["stack"][1][1][30]["curves/_type"] == "image-file"
    assert (first.project, first.run_group, first.job_type) == ("project", "stack", "rpd")
    assert list(first.tags) == ["toy:Reach-v0", "debug", "rpd"]
    assert list(runs["stack"][0][0].tags) == ["toy:Reach-v0", "debug", "ppo", "rpd"]
    config = {each.key: json.loads(each.value_json) for each in first.config.update if each.key != "_wandb"}
    assert config == {"algorithm": {"gamma": 0.9}, "variant": "rpd", "seed": 3, "variant_settings": {"mse": 1.0}}
    assert len({run.run_id for (run, _), *_ in runs.values()}) == 3


@pytest.mark.usefixtures("offline")
def test_what_wandb_has_of_steps_that_are_repeated_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Online it says at which step a resumed run is to go on; offline it does not know."""
    import wandb

    writers = make_writers(tmp_path, False, "project", ABOUT)
    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "step", 20)
    writers.write(10, {"update/loss/ppo/0": 9.0})
    writers.write(20, {"update/loss/ppo/0": 2.0})
    writers.close()
    assert read(tmp_path)["ppo/seed-0"][0][1] == {20: {"update/loss": 2.0}}


@pytest.mark.usefixtures("offline")
def test_what_wandb_refuses_is_a_mistake_in_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.wandb_project='a/b' cannot work: .*WANDB_MODE=offline"):
        make_writers(tmp_path, False, "a/b", ABOUT)


def test_wandb_that_is_not_installed_is_a_mistake_in_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"run\.wandb_project='p' needs wandb: pip install"):
        make_writers(tmp_path, wandb_project="p")
