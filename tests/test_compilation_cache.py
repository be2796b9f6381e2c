"""Compiled programs are kept for the next start, where the user has not chosen otherwise."""

from __future__ import annotations

import os
import stat
import sys
import types
from pathlib import Path

import pytest

from rpd_jax import compilation_cache
from rpd_jax.compilation_cache import DIRECTORY, SETTINGS


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of the user's in a process that has not imported JAX."""
    for name in (DIRECTORY, *SETTINGS):
        monkeypatch.setenv(name.upper(), "")  # so that the variable is restored, also where it was not set
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    return tmp_path / "cache"


def test_it_is_its_owners_alone(home: Path) -> None:
    compilation_cache.configure(2)
    directory = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert directory.parent == home / "rpd_jax"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == str(2**30)


def test_machines_that_share_a_home_share_nothing_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cores in (2, 64):
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        compilation_cache.configure(cores)
    assert len(list((home / "rpd_jax").iterdir())) == 2


@pytest.mark.parametrize("chosen", ["", "/elsewhere"])
def test_the_users_directory_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", chosen)
    compilation_cache.configure(2)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == chosen
    assert not home.exists()


def test_the_users_bound_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "5")
    compilation_cache.configure(2)
    assert os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == "5"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"]


@pytest.mark.parametrize("given", [None, "/mine"])
def test_a_jax_that_is_imported_is_told(home: Path, monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    settings = {DIRECTORY: given}
    config = types.SimpleNamespace(**settings, update=settings.__setitem__)
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(config=config))
    compilation_cache.configure(2)
    if given is None:
        assert settings == {DIRECTORY: os.environ["JAX_COMPILATION_CACHE_DIR"], **SETTINGS}
    else:
        assert settings == {DIRECTORY: "/mine"}
        assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_without_a_place_there_is_none(home: Path) -> None:
    home.write_text("a file")
    compilation_cache.configure(2)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_directory_that_others_can_write_to_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compilation_cache.configure(2)
    os.chmod(os.environ["JAX_COMPILATION_CACHE_DIR"], 0o777)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    compilation_cache.configure(2)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
