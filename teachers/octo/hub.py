"""Files of the Hugging Face hub: from its cache if they are there, else downloaded into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rpd_jax.runs.checkpoint import CheckpointError
from teachers.octo.settings import HUB as PREFIX


def snapshot(repository: str, complete: Callable[[Path], bool]) -> Path:
    """The local copy of a whole repository.

    Args:
      repository: "org/name".
      complete: whether a folder has what is needed: a download that was interrupted leaves part of it.
    Raises:
      CheckpointError: it is not in the cache and cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    def look(local_files_only: bool) -> Path:
        return Path(snapshot_download(repository, local_files_only=local_files_only))

    return _cached_first(f"{PREFIX}{repository}", look, complete)


def file(repository: str, name: str) -> Path:
    """The local copy of one file of a repository. Raises CheckpointError as `snapshot` does."""
    from huggingface_hub import hf_hub_download

    def look(local_files_only: bool) -> Path:
        return Path(hf_hub_download(repository, name, local_files_only=local_files_only))

    return _cached_first(f"{PREFIX}{repository}/{name}", look, Path.is_file)


def _cached_first(what: str, look: Callable[[bool], Path], complete: Callable[[Path], bool]) -> Path:
    from huggingface_hub import errors

    try:
        cached = look(True)
        if complete(cached):
            return cached
    except errors.LocalEntryNotFoundError:
        pass
    except errors.HFValidationError as error:
        raise CheckpointError(f"{what!r} names no repository of the hub: write {PREFIX}org/name") from error
    try:
        return look(False)
    except Exception as error:  # which ones there are depends on the HTTP client
        raise CheckpointError(
            f"{what!r} is not in the cache and cannot be downloaded ({type(error).__name__}): "
            "check the name and the connection, or put the files into a local directory"
        ) from error
