"""Addresses of the hub, without a network: what is fetched, from where, and what is said where it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rpd_jax.config import ConfigError
from teachers import hub


def test_a_revision_is_fetched_where_the_cache_lacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(repository: str, revision: str | None, name: str | None, cached: bool) -> Path:
        asked.append((repository, revision, name, cached))
        if cached and len(asked) == 1:
            raise FileNotFoundError(repository)
        return tmp_path

    monkeypatch.setattr(hub, "fetch", fetch)
    assert hub.local("hf://org/name@v2", Path.is_dir) == tmp_path
    assert hub.local("hf://org/name", Path.is_dir) == tmp_path  # in the cache now
    assert asked == [("org/name", "v2", None, True), ("org/name", "v2", None, False), ("org/name", None, None, True)]
    assert hub.local("a/directory", Path.is_dir) == Path("a/directory")


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for address, message in (
        ("hf://a/b/c", "'hf://a/b/c' names no repository of the hub: write hf://org/name@revision"),
        ("hf://org/name", "'hf://org/name' is not in the cache and cannot be downloaded .ConnectionError."),
    ):
        with monkeypatch.context() as patch, pytest.raises(ConfigError, match=message):
            if address == "hf://org/name":
                patch.setattr(hub, "fetch", _offline)
            hub.local(address, Path.is_dir)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"'hf://org/name' cannot be fetched: it needs pip install 'rpd_jax\[hub\]'"):
        hub.local("hf://org/name", Path.is_dir)


def _offline(repository: str, revision: str | None, name: str | None, cached: bool) -> Path:
    raise FileNotFoundError if cached else ConnectionError("no route")
