"""What is neither pushed nor pulled, through a stand-in on loopback, and what is said of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_calls import chosen, contents, pull, push
from hub_stand_in import Hub

from rpd_jax.config import ConfigError

pytest.importorskip("huggingface_hub")


def test_paths_and_addresses_of_this_machine_stay_here(hub: Hub, run: Any, tmp_path: Path) -> None:
    from rpd_jax.hub.bundle import machine_paths

    path = shutil.copytree(run.directory, tmp_path / "run") / "config.json"
    config = json.loads(path.read_text())
    config["teacher"] = {"name": "openvla", "path": "/secret/lab/weights", "python": "/secret/venv/bin/python"}
    config["teacher"] |= {"contract": "environment", "socket": "/secret/lab/socket", "log": "secret.log"}
    config["run"]["wandb_project"] = "secret-project"
    path.write_text(json.dumps(config))
    _, said = push(hub, tmp_path / "run", choice=chosen(), license="mit")
    repository = hub.repositories["models/jane/thing"]
    assert not [name for name, content in repository.files.items() if b"secret" in content] and "note:" not in said
    pushed = json.loads(repository.files["config.json"])
    assert pushed["teacher"]["name"] == "openvla" and pushed["teacher"]["path"] == "weights"
    assert machine_paths({"config.json": path})[0].startswith("config.json names a path of this machine, '/")
    for field in ("teacher.python", "teacher.socket", "teacher.log", "env.python", "run.directory"):
        section, name = field.split(".")  # by somebody who has made the list anew
        content = json.dumps(pushed | {section: pushed[section] | {name: "/evil"}}).encode()
        listing = json.loads(repository.files["rpd_jax.json"])
        listing["files"]["config.json"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        repository.commit(repository.files | {"config.json": content, "rpd_jax.json": json.dumps(listing).encode()})
        with pytest.raises(ConfigError, match=f"has {field}='/evil', which rpd-jax push never writes"):
            pull(hub, tmp_path / "pulled")
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


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
    assert not list(tmp_path.glob("listed*")) and not list(tmp_path.rglob("evil*"))


def test_files_larger_than_listed_are_not_fetched(hub: Hub, tmp_path: Path) -> None:
    push(hub, "octo-nano")
    files = hub.repositories["models/jane/thing"].files
    files["vocabulary.json"] += b" " * 1000
    with pytest.raises(ConfigError, match=r"vocabulary.json is not the file that was pushed: it has [\d,]+ bytes, and"):
        pull(hub, tmp_path / "pulled")
    assert not [each for each in hub.requests if "/resolve/" in each and not each.endswith("rpd_jax.json")]
    files["rpd_jax.json"] += b" " * (9 << 20)
    with pytest.raises(ConfigError, match=r"one whose rpd_jax.json has at most 8,388,608 bytes"):
        pull(hub, tmp_path / "pulled")
    assert not list(tmp_path.iterdir())


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
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    hub.requests.clear()
    for output in (Path(), Path(".."), tmp_path / "link"):
        with pytest.raises(
            ConfigError, match=r"output='.*' cannot work: it must be a directory with a name of its own"
        ):
            pull(hub, output)
    assert not hub.requests
