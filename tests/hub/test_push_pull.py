"""To the hub and back, through a stand-in on loopback: the same bytes, and nothing that no list allows."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import launch
from hub_stand_in import TOKEN, Hub, serving

from rpd_jax.config import ConfigError

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of two variants and two seeds, whose config names paths of this machine."""
    import rpd_jax
    from teachers.settings import teacher_factory

    config = rpd_jax.get_preset("debug")
    config.variants, config.seeds = ("ppo", "rpd-mse"), (0, 1)
    config.algorithm.total_steps = 2 * config.algorithm.iteration_steps(config.env.num_envs)
    config.network.normalize_observations = True
    config.eval.every, config.eval.videos, config.eval.episodes, config.eval.num_envs = 1, 0, 4, 2
    config.run.checkpoint_every = 1
    config.run.directory, config.run.tensorboard = str(tmp_path_factory.mktemp("hub") / "run"), False
    return rpd_jax.train(config, teacher_factory(config.teacher))


def push(hub: Hub, path: Any, repo: str = "jane/thing", **settings: Any) -> tuple[str | None, str]:
    """The commit, and what was said."""
    from rpd_jax.hub.push import MAKERS
    from rpd_jax.hub.push import push as push_
    from teachers.octo.bundle import octo_bundle

    said: list[str] = []
    makers = (*MAKERS, octo_bundle)
    commit = push_(str(path), repo, makers=makers, endpoint=hub.endpoint, say=said.append, **settings)
    return commit, "\n".join(said)


def pull(hub: Hub, output: Path, repo: str = "jane/thing", **settings: Any) -> Any:
    from rpd_jax.hub.pull import pull as pull_

    return pull_(repo, output, endpoint=hub.endpoint, say=lambda _: None, **settings)


def chosen(variant: str = "rpd-mse", seed: int = 1, iteration: int | None = None) -> Any:
    from rpd_jax.hub.bundle import Choice

    return Choice(variant, seed, iteration)


def contents(directory: Path) -> dict[str, bytes]:
    return {f.relative_to(directory).as_posix(): f.read_bytes() for f in directory.rglob("*") if f.is_file()}


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


def test_the_card_says_what_is_known(hub: Hub, run: Any) -> None:
    push(hub, run.directory, choice=chosen(), license="mit")
    card = hub.repositories["models/jane/thing"].files["README.md"].decode()
    assert card.startswith('---\nlibrary_name: rpd_jax\nlicense: "mit"\n')
    rate = json.loads((run.directory / "curves.json").read_text())[-1]
    for words in (
        f"succeeds once in {rate['success_once']:.2f} of 4 episodes (95 % interval",
        "teacher: a scripted toy, not a learned model",
        "| goal_pos | 3 to 5 | float32 | m |",
        "preset `debug`",
        "rpd-jax pull --repo=jane/thing --output=DIR",
    ):
        assert words in re.sub(" +", " ", card), card


def test_paths_and_addresses_of_this_machine_stay_here(hub: Hub, run: Any, tmp_path: Path) -> None:
    from rpd_jax.hub.bundle import machine_paths

    path = shutil.copytree(run.directory, tmp_path / "run") / "config.json"
    config = json.loads(path.read_text())
    config["teacher"] = {"name": "openvla", "path": "/secret/lab/weights", "python": "/secret/venv/bin/python"}
    config["teacher"]["contract"] = "environment"
    config["run"]["wandb_project"] = "secret-project"
    path.write_text(json.dumps(config))
    _, said = push(hub, tmp_path / "run", choice=chosen(), license="mit")
    repository = hub.repositories["models/jane/thing"]
    assert not [name for name, content in repository.files.items() if b"secret" in content] and "note:" not in said
    pushed = json.loads(repository.files["config.json"])
    assert pushed["teacher"]["name"] == "openvla" and pushed["teacher"]["path"] == "weights"
    assert machine_paths({"config.json": path})[0].startswith("config.json names a path of this machine, '/")
    pushed["teacher"]["python"] = "/evil/python"  # by somebody who has made the list anew
    content = json.dumps(pushed).encode()
    listing = json.loads(repository.files["rpd_jax.json"])
    listing["files"]["config.json"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    repository.commit(repository.files | {"config.json": content, "rpd_jax.json": json.dumps(listing).encode()})
    with pytest.raises(ConfigError, match=r"has teacher.python='/evil/python', which rpd-jax push never writes"):
        pull(hub, tmp_path / "pulled")
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


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


def test_what_was_tampered_with_is_refused(hub: Hub, tmp_path: Path) -> None:
    sound, _ = push(hub, "octo-nano")
    repository, weights = hub.repositories["models/jane/thing"], "6000/default/checkpoint"
    content = repository.files[weights]
    repository.commit(repository.files | {weights: content[:-1] + bytes([content[-1] ^ 1])})
    with pytest.raises(ConfigError, match=f"{weights} is not the file that was pushed"):
        pull(hub, tmp_path / "pulled")
    repository.commit({name: each for name, each in repository.files.items() if name != weights})
    with pytest.raises(ConfigError, match=f"{weights} is missing"):
        pull(hub, tmp_path / "pulled")
    assert not list(tmp_path.iterdir())
    assert pull(hub, tmp_path / "pulled", revision=sound).kind == "octo"


def test_an_interrupted_pull_leaves_nothing_half_and_goes_on(hub: Hub, tmp_path: Path) -> None:
    push(hub, "octo-nano")
    hub.withheld = "6000/default/checkpoint"
    with pytest.raises(ConfigError, match="cannot be pulled"):
        pull(hub, tmp_path / "pulled")
    assert [each.name for each in tmp_path.iterdir()] == ["pulled.partial"]
    (tmp_path / "pulled.partial").rename(tmp_path / "later.partial")
    hub.withheld, hub.requests[:] = "", []
    pull(hub, tmp_path / "later")
    fetched = {each.rsplit("/", 1)[1] for each in hub.requests if each.startswith("GET") and "/resolve/" in each}
    assert "checkpoint" in fetched and "example_batch.msgpack" not in fetched
    assert [each.name for each in tmp_path.iterdir()] == ["later"]
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"by way of \S+/other.partial, which exists: move that away"):
        pull(hub, tmp_path / "other")


@pytest.mark.parametrize("name", ["evil.py", "evil.pkl", "6000/default/evil.py", "../evil.json", "/etc/evil.json"])
def test_code_and_pickles_are_never_written(name: str, hub: Hub, tmp_path: Path) -> None:
    push(hub, "octo-nano")
    files = hub.repositories["models/jane/thing"].files
    if ".." not in name and not name.startswith("/"):  # no hub has such names, but a list may
        files[name] = b"import os"
        assert pull(hub, tmp_path / "pulled").left_out == (name,)
        assert not list(tmp_path.rglob("evil*"))
    listing = json.loads(files["rpd_jax.json"])
    listing["files"][name] = {"size": 9, "sha256": "0" * 64}
    files["rpd_jax.json"] = json.dumps(listing).encode()
    with pytest.raises(ConfigError, match=re.escape(f"lists {name!r}, which is no file of an Octo checkpoint")):
        pull(hub, tmp_path / "listed")
    assert not (tmp_path / "listed").exists() and not list(tmp_path.rglob("evil*"))


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
    assert "succeeds once in" in files["README.md"].decode()  # of the run that it lies in
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


@pytest.mark.parametrize("repo", ["name", "a/b/c", "/name", "jane/", "ja ne/x", "datasets/name", "jane/a..b"])
def test_names_that_cannot_be_are_refused_first(repo: str, hub: Hub) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"repo={repo!r} is no name of a repository")):
        push(hub, "octo-nano", repo)
    with pytest.raises(ConfigError, match="is no name of a repository"):
        pull(hub, Path("unused"), repo)
    assert not hub.requests


def test_mistakes_are_named(hub: Hub, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    for path, settings, said in (
        (run.directory, {}, "variant is missing: choose from ppo, rpd-mse"),
        (tmp_path, {}, "is nothing that can be pushed"),
        ("nowhere", {}, "path='nowhere' does not exist"),
        ("octo-nano", {"choice": chosen()}, "variant='rpd-mse' cannot work"),
        ("octo-nano", {"repo": "datasets/jane/x"}, "repo='datasets/jane/x' cannot work"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            push(hub, path, **settings)
    assert not hub.requests
    hub.make("models/jane/other").files["model.safetensors"] = b"of somebody"
    with pytest.raises(ConfigError, match=r"holds 'model.safetensors', and no rpd_jax.json"):
        push(hub, "octo-nano", "jane/other")
    with pytest.raises(ConfigError, match="it was not pushed by rpd-jax push"):
        pull(hub, tmp_path / "x", "jane/other")
    hub.make("models/jane/public")
    with pytest.raises(ConfigError, match="exists and is public"):
        push(hub, "octo-nano", "jane/public", private=True)
    with pytest.raises(ConfigError, match="repo='jane/none' cannot be pulled: there is none of that name"):
        pull(hub, tmp_path / "x", "jane/none")
    with pytest.raises(ConfigError, match="it has no such revision"):
        pull(hub, tmp_path / "x", "jane/public", revision="v9")
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(ConfigError, match=r"the token is not accepted, or may not do this \(401\)"):
        push(hub, "octo-nano", "jane/public")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(ConfigError, match="there is no token to push with: run `hf auth login`"):
        push(hub, "octo-nano")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pulling needs huggingface_hub: pip install 'rpd_jax\[hub\]'"):
        pull(hub, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_directory_is_replaced_only_if_it_was_pulled(hub: Hub, tmp_path: Path) -> None:
    push(hub, "octo-nano")
    target = tmp_path / "pulled"
    pull(hub, target)
    with pytest.raises(ConfigError, match="exists and is not empty: use overwrite=True"):
        pull(hub, target)
    before = contents(target)
    (target / "vocabulary.json").unlink()
    pull(hub, target, overwrite=True)
    assert contents(target) == before
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds 'notes.txt', which was not pulled"):
        pull(hub, target, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="it is not something that was pulled"):
        pull(hub, tmp_path / "mine", overwrite=True)
    assert contents(tmp_path / "mine") == {"config.json": b"{}"}


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
