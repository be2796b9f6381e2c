"""Checkpoints by address: a directory, or "hf://org/name@revision" of the Hugging Face hub.

What is in the hub's cache is not asked for again; the rest is downloaded into it. `huggingface_hub` does so if it is
installed; a program may put a function of its own in the place of `fetch`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rpd_jax.config.errors import ConfigError

PREFIX = "hf://"
Fetch = Callable[[str, str | None, str | None, bool], Path]
"""(repository "org/name", revision, one file's name or None for all, whether only to look into the cache) -> path.

Raises FileNotFoundError for what the cache lacks, ValueError for what is no name of a repository.
"""


def _fetch(repository: str, revision: str | None, name: str | None, cached: bool) -> Path:
    import huggingface_hub

    if name is not None:
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision, local_files_only=cached))
    return Path(huggingface_hub.snapshot_download(repository, revision=revision, local_files_only=cached))


fetch: Fetch = _fetch


def is_address(path: str | Path) -> bool:
    """Whether a path is an address of the hub."""
    return str(path).startswith(PREFIX)


def local(path: str | Path, complete: Callable[[Path], bool]) -> Path:
    """The directory of a checkpoint; of an address its local copy.

    Args:
      path: a directory, or "hf://org/name", or of a branch, tag or commit "hf://org/name@revision".
      complete: whether a folder has what is needed: a download that was interrupted leaves part of it.
    Raises:
      ConfigError: it is not in the cache and cannot be downloaded.
    """
    if not is_address(path):
        return Path(path)
    repository, _, revision = str(path).removeprefix(PREFIX).partition("@")
    return _cached_first(str(path), lambda cached: fetch(repository, revision or None, None, cached), complete)


def file(repository: str, name: str) -> Path:
    """The local copy of one file of a repository. Raises ConfigError as `local` does."""
    return _cached_first(
        f"{PREFIX}{repository}/{name}", lambda cached: fetch(repository, None, name, cached), Path.is_file
    )


def _cached_first(what: str, look: Callable[[bool], Path], complete: Callable[[Path], bool]) -> Path:
    try:
        cached = look(True)
        if complete(cached):
            return cached
    except ModuleNotFoundError as error:
        raise ConfigError(f"{what!r} cannot be fetched: it needs pip install 'rpd_jax[hub]'") from error
    except FileNotFoundError:  # LocalEntryNotFoundError of huggingface_hub is one
        pass
    except ValueError as error:
        raise ConfigError(f"{what!r} names no repository of the hub: write {PREFIX}org/name@revision") from error
    try:
        return look(False)
    except Exception as error:  # which ones there are depends on the HTTP client
        raise ConfigError(
            f"{what!r} is not in the cache and cannot be downloaded ({type(error).__name__}): "
            "check the name and the connection, or put the files into a local directory"
        ) from error
