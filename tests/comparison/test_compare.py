"""Whole comparisons on the toy task: what they leave on disk, that cuts change nothing, that planted bugs are found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import pytest

from rpd_jax.comparison import Arm, Case, Experiment, compare, published, report, runner
from rpd_jax.comparison.checks import unrelated_labels, without_effect
from rpd_jax.config import ConfigError, TeacherConfig
from rpd_jax.experiments import get_experiment
from rpd_jax.losses.terms import TERMS, term
from rpd_jax.report.results import COMPARISON_FILE
from rpd_jax.runs.files import write_json
from rpd_jax.runs.metrics import METRICS_FILE
from rpd_jax.training import trainer
from rpd_jax.view import comparison as view
from rpd_jax.view.places import Place
from teachers.settings import teacher_factory


def small(**changes: Any) -> Experiment:
    """The smoke experiment with less of everything."""
    made = dataclasses.replace(get_experiment("smoke"), cases=(Case("near"),), budgets=(1280,), tuning_seeds=(100,))
    return dataclasses.replace(made, **changes)


def files(root: Path) -> dict[str, str]:
    """What a comparison says, but for the day."""
    stored = json.loads((root / COMPARISON_FILE).read_text())
    stored.pop("date")
    return {"json": json.dumps(stored), "csv": (root / report.CSV_FILE).read_text()}


def finished(experiment: Experiment, root: Path) -> dict[str, str]:
    outcomes = compare(experiment, root, teacher_factory)
    report.write(experiment, root, outcomes, runner.problems(experiment, root, outcomes), "a command")
    return files(root)


def test_a_comparison_is_the_same_after_it_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = small(budgets=(640,))
    whole = finished(experiment, tmp_path / "whole")
    assert {"curves.png", "sensitivity.png", "report.md", "table.tex"} <= {
        p.name for p in (tmp_path / "whole").iterdir()
    }
    seen = view.gather(Place("whole", tmp_path / "whole", is_comparison=True))  # what is written can be looked at
    assert [arm["curve"]["x"][-1] for arm in seen["cases"][0]["arms"]] == [640, 640]

    saves, save = 0, trainer.Trainer.save

    def cut(self: trainer.Trainer) -> None:
        nonlocal saves
        saves += 1
        if saves in (2, 7):
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(trainer.Trainer, "save", cut)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compare(experiment, tmp_path / "cut", teacher_factory)
    assert finished(experiment, tmp_path / "cut") == whole

    monkeypatch.setattr(runner, "train", None)  # nothing is left to do
    assert finished(experiment, tmp_path / "cut") == whole

    folder = published.publish(tmp_path / "cut", tmp_path / "kept")
    assert (folder / "curves.png").is_file()
    assert "| RPD-MSE ends above PPO |" in (tmp_path / "kept" / "README.md").read_text()


def test_what_is_no_comparison_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"comparison\.json is missing"):
        published.publish(tmp_path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_picture_that_was_half_copied_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / COMPARISON_FILE, {"experiment": "x"})
    (tmp_path / "curves.png").write_bytes(b"whole")

    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"ha")
        raise OSError("no space left")

    monkeypatch.setattr("shutil.copyfile", half)
    with pytest.raises(OSError, match="no space"):
        published.publish(tmp_path, tmp_path / "kept")
    assert list((tmp_path / "kept" / "x").iterdir()) == []


def test_a_term_without_a_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpd_jax.losses.terms.TERMS", TERMS)
    try:

        @term("idle")
        def idle(student_mean: jax.Array, teacher_action: jax.Array) -> jax.Array:
            return (jax.lax.stop_gradient(student_mean) - teacher_action) ** 2

        experiment = small(arms=(Arm("ppo", ("ppo",)), Arm("rpd-mse", ("rpd-mse",)), Arm("idle", ("ppo:idle=1",))))
        config = experiment.final(experiment.cases[0], {"ppo": 0, "rpd-mse": 0, "idle": 0}, 640, "nowhere")
        assert without_effect(config, teacher_factory(config.teacher)) == ["idle"]
    finally:
        TERMS.pop("idle", None)


class Shuffled:
    """A teacher whose labels stand beside the wrong states."""

    def __init__(self, teacher: Any) -> None:
        self._teacher, self.spec = teacher, teacher.spec

    def label(self, observation: Any, instructions: Any, key: jax.Array) -> Any:
        labels = self._teacher.label(observation, instructions, key)
        order = jax.random.permutation(jax.random.fold_in(key, 1), len(labels.valid))
        return jax.tree.map(lambda x: x[order], labels)


def test_shuffled_labels_are_found(tmp_path: Path) -> None:
    arms = (
        Arm("ppo", ("ppo",)),
        Arm("rpd-mse", ("rpd-mse:mse=20:learning_rate=3e-3",)),
        Arm("direction", ("vlajs-persistent:direction=3:learning_rate=3e-3",)),
    )
    experiment = small(arms=arms, budgets=(2560,), seeds=(0,))
    experiment.config.run.checkpoint_every = experiment.config.eval.every = 0

    def shuffled(config: TeacherConfig) -> Any:
        return lambda env: Shuffled(teacher_factory(config)(env))

    fine = compare(experiment, tmp_path / "fine", teacher_factory)
    assert runner.problems(experiment, tmp_path / "fine", fine) == []
    wrong = compare(experiment, tmp_path / "wrong", shuffled)
    said = runner.problems(experiment, tmp_path / "wrong", wrong)
    assert [each.split(" explain ")[0] for each in said] == [
        f"near: {n}: its students" for n in ("rpd-mse", "direction")
    ]
    assert all("labels do not belong" in each for each in said)


def test_who_follows_directions_is_not_judged_by_lengths(tmp_path: Path) -> None:
    """Fits of few rows scatter: on average over five iterations vlajs's are .08, and vlajs-persistent's .02."""
    names = ("ppo", "vlajs", "vlajs-persistent", "vlajs-rpd")
    experiment = small(arms=tuple(Arm(name, (name,)) for name in names))
    rows = [
        {f"update/label_fit/{name}/0": -3.0 for name in names[1:]}
        | {"update/direction_fit/vlajs/0": directions, "update/direction_fit/vlajs-persistent/0": directions - 0.06}
        for directions in (0.4, -0.4, 0.2, 0.2, 0.0)
    ]
    (tmp_path / METRICS_FILE).write_text("".join(json.dumps({"step": i} | row) + "\n" for i, row in enumerate(rows)))
    said = unrelated_labels(experiment, tmp_path, tuning=False)
    assert [each.split(" labels'")[0] for each in said] == [
        "vlajs-persistent: its students explain 0.02 of their",
        "vlajs-rpd: its students explain 0.00 of their",
    ]
