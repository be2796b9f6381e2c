"""To the hub and back, through a stand-in on loopback: the same bytes, and a card that says what is known."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import launch
from hub_calls import chosen, contents, pull, push
from hub_stand_in import TOKEN, Hub

from rpd_jax.config import ConfigError

pytest.importorskip("huggingface_hub")


def test_a_student_comes_back_the_same_and_teaches(hub: Hub, run: Any, tmp_path: Path) -> None:
    import jax

    import rpd_jax
    from teachers.policy.teacher import PolicyTeacher

    commit, said = push(hub, run.directory, choice=chosen(), license="apache-2.0", private=True)
    repository = hub.repositories["models/jane/thing"]
    assert repository.private and [each for each, _ in repository.commits][1:] == [commit]  # one commit
    assert re.search(r"checkpoints/2/params/\S+ +[\d,]+ bytes", said) and "note:" not in said
    found = pull(hub, tmp_path / "pulled")
    assert (found.commit, found.kind, found.left_out) == (commit, "student", ())
    assert contents(tmp_path / "pulled") == {n: c for n, c in repository.files.items() if n != ".gitattributes"}
    assert not (tmp_path / "pulled.partial").exists()
    here = str(run.directory.parent).encode()
    assert not [name for name, content in repository.files.items() if here in content]
    state = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    student, again = run.student("rpd-mse", 1), rpd_jax.load_student(tmp_path / "pulled")
    np.testing.assert_array_equal(again.act({"state": state}), student.act({"state": state}))
    assert (again.variant, again.seed, again.iteration) == ("rpd-mse", 1, 2)
    teacher = PolicyTeacher(student.spec, tmp_path / "pulled")
    labels = teacher.label({"state": state}, "", jax.random.key(0)).action
    np.testing.assert_allclose(np.clip(labels, -1, 1), student.act({"state": state}), atol=1e-6)
    table = rpd_jax.evaluate(tmp_path / "pulled", None, episodes=2)
    assert [(row.variant, row.seeds) for row in table] == [("rpd-mse", 1)]


def test_a_student_that_was_pulled_is_not_resumed(hub: Hub, run: Any, tmp_path: Path) -> None:
    import rpd_jax
    from rpd_jax.runs.checkpoint import CheckpointError, load_config
    from teachers.settings import teacher_factory

    push(hub, run.directory, choice=chosen())
    pull(hub, tmp_path / "pulled")
    before, config = contents(tmp_path / "pulled"), load_config(tmp_path / "pulled")
    config.run.directory = str(tmp_path / "pulled")
    with pytest.raises(CheckpointError, match="cannot be resumed: it holds a student without the state"):
        rpd_jax.train(config, teacher_factory(config.teacher), resume=True)
    assert contents(tmp_path / "pulled") == before


def test_the_card_says_what_is_known(hub: Hub, run: Any) -> None:
    push(hub, run.directory, choice=chosen(), license="mit")
    card = hub.repositories["models/jane/thing"].files["README.md"].decode()
    assert card.startswith('---\nlibrary_name: rpd_jax\nlicense: "mit"\n')
    rate = json.loads((run.directory / "curves.json").read_text())[-1]
    for words in (
        f"succeeds at least once in {rate['success_once']:.2f} of 4 episodes (95 % interval",
        "teacher: a scripted toy, not a learned model",
        "| goal_pos | 3 to 5 | float32 | m |",
        "preset `debug`",
        "rpd-jax pull --repo=jane/thing --output=DIR",
    ):
        assert words in re.sub(" +", " ", card), card


def test_a_dry_run_asks_for_nothing(hub: Hub, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    commit, said = push(hub, run.directory, choice=chosen(), dry_run=True)
    assert commit is None and not hub.requests and not hub.repositories
    assert "checkpoints/2/host/metadata" in said and "## Success" in said and "names no license" in said


def test_a_second_push_takes_the_files_of_the_first_away(hub: Hub, run: Any, tmp_path: Path) -> None:
    first, _ = push(hub, run.directory, choice=chosen())
    hub.repositories["models/jane/thing"].files["picture.png"] = b"somebody's own"
    push(hub, run.directory, choice=chosen(iteration=1))
    files = hub.repositories["models/jane/thing"].files
    assert {name.split("/")[1] for name in files if name.startswith("checkpoints/")} == {"1"} and "picture.png" in files
    assert pull(hub, tmp_path / "new").left_out == ("picture.png",) and not (tmp_path / "new/picture.png").exists()
    assert pull(hub, tmp_path / "old", revision=first).commit == first
    assert [p.name for p in (tmp_path / "old/checkpoints").iterdir()] == ["2"]


def test_octo_nano_comes_back_as_a_teacher(hub: Hub, tmp_path: Path) -> None:
    from teachers.octo.checkpoint import digest_checkpoint
    from teachers.octo.look import look
    from teachers.octo.model import SHIPPED

    push(hub, "octo-nano", license="apache-2.0")
    pull(hub, tmp_path / "nano")
    look(tmp_path / "nano")
    (tmp_path / "nano" / "README.md").write_bytes((SHIPPED["octo-nano"] / "README.md").read_bytes())
    (tmp_path / "nano" / "rpd_jax.json").unlink()
    assert digest_checkpoint(tmp_path / "nano", 6000) == digest_checkpoint(SHIPPED["octo-nano"], 6000)
    card = hub.repositories["models/jane/thing"].files["README.md"].decode()
    assert "* pick up the cube" in card and "| PullCube-v1 |" in card and card.count("\n---\n") == 1


def test_an_export_comes_back_with_the_runner_of_this_library(
    hub: Hub, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rpd_jax.export.files import export_student

    pytest.importorskip("onnxruntime")
    directory, student = run.directory / "export" / "rpd-mse-1", run.student("rpd-mse", 1)
    export_student(student, directory, lerobot=True)
    push(hub, directory)
    files = hub.repositories["models/jane/thing"].files
    assert "lerobot/policy/model.safetensors" in files
    assert not [name for name in files if name.endswith((".py", ".toml"))]
    assert "succeeds at least once in" in files["README.md"].decode()  # of the run that it lies in
    assert pull(hub, tmp_path / "pulled").remark == ""
    exported = {n: c for n, c in contents(tmp_path / "pulled").items() if n not in ("README.md", "rpd_jax.json")}
    assert exported == contents(directory)
    runner = runpy.run_path(str(tmp_path / "pulled" / "runner.py"))
    state = np.zeros(6, np.float32)
    action = runner["Student"](tmp_path / "pulled").act({"state": state})
    np.testing.assert_allclose(action, student.act({"state": state}), atol=1e-5)
    (directory / "student.onnx").write_bytes(b"another")
    with pytest.raises(ConfigError, match=r"student.onnx is not the file that was exported"):
        push(hub, directory)


def test_a_recording_is_a_data_set(hub: Hub, tmp_path: Path) -> None:
    import rpd_jax
    from rpd_jax.demonstrations.collect import Settings, collect
    from rpd_jax.demonstrations.sets import open_demonstrations
    from teachers.settings import teacher_factory

    config = rpd_jax.get_preset("debug")
    settings = Settings(episodes=3, num_envs=2, successful_only=False)
    make = teacher_factory(config.teacher)
    collect(config, lambda env: make(env), settings, tmp_path / "demos")
    push(hub, tmp_path / "demos")
    with pytest.raises(ConfigError, match="a recording's address is datasets/jane/thing"):
        pull(hub, tmp_path / "pulled")
    pull(hub, tmp_path / "pulled", "datasets/jane/thing")
    with open_demonstrations(tmp_path / "demos") as mine, open_demonstrations(tmp_path / "pulled") as theirs:
        assert len(theirs) == 3
        np.testing.assert_array_equal(theirs[2].action, mine[2].action)
    card = hub.repositories["datasets/jane/thing"].files["README.md"].decode()
    assert "task_categories: [robotics]" in card and "a scripted toy, not a learned model" in card
    assert "| state | goal_pos | 3 to 5 | m |" in re.sub(" +", " ", card)
    (tmp_path / "demos" / "collection.json").write_text(
        (tmp_path / "demos" / "collection.json").read_text().replace('"episodes": 3', '"episodes": 4')
    )
    with pytest.raises(ConfigError, match="is damaged: it holds 3 episodes"):
        push(hub, tmp_path / "demos")


def test_the_programs(hub: Hub, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    pushed = launch("push", "--path=octo-nano", "--repo=jane/nano", **environment)
    assert pushed.returncode == 0 and "6000/default/checkpoint" in pushed.stdout, pushed.stderr
    found = re.search(r"rpd-jax (pull --repo=jane/nano --revision=[0-9a-f]{40}) ", pushed.stdout)
    assert found, pushed.stdout
    verb, *arguments = found[1].split()
    pulled = launch(verb, *arguments, f"--output={tmp_path / 'nano'}", **environment)
    assert pulled.returncode == 0, pulled.stderr
    assert "all files verified" in pulled.stdout and f"--config.teacher.path={tmp_path / 'nano'}" in pulled.stdout
