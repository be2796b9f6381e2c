"""From the hub: files that a list names and allows, verified before any of them appears under its name.

Nothing that is pulled is imported, run, started or unpickled here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rpd_jax.config.validation import ConfigError, require
from rpd_jax.export.files import CODE
from rpd_jax.export.lerobot_policy import DIRECTORY
from rpd_jax.hub.client import Address, address, client, explained, file_sizes, need_hub
from rpd_jax.hub.exported import add_code
from rpd_jax.hub.listing import CARD, KINDS, LISTING, MISSING, Listing, check_size, read_listing, verify
from rpd_jax.hub.student import check_pulled
from rpd_jax.runs.files import read_json, temporary_beside, write_json
from rpd_jax.runs.output_directory import NUMBER, Claim, Kind, check_path, remove

if TYPE_CHECKING:
    import huggingface_hub

_MARK, _DOWNLOAD, _WHOLE = "pull.json", "download", "whole"
_MOST = 8 << 20  # bytes of the list and of a card, each
PULLED = Kind(
    field="output",
    what="something that was pulled",
    file=LISTING,
    keys=frozenset({"kind", "files", "format"}),
    entries=(
        *(CARD, "config.json", "curves.json", "checkpoints"),
        *("student.json", "student.onnx", "student.stablehlo", "student.mlir", *CODE, DIRECTORY),
        *("example_batch.msgpack", "dataset_statistics.json", "tokenizer.json", "vocabulary.json", NUMBER),
        *("action_contract.json", "trained_on.json", "serving.json"),
        *("collection.json", "trajectory.h5", "trajectory.json", "data", "meta", "videos"),
    ),
)
UNDER_WAY = Kind(
    field="output",
    what="a download under way",
    file=_MARK,
    keys=frozenset({"repo", "commit"}),
    entries=(_DOWNLOAD, _WHOLE),
)


class Pulled(NamedTuple):
    """What was pulled."""

    directory: Path
    commit: str
    kind: str  # of `listing.KINDS`
    left_out: tuple[str, ...]  # files of the repository that its list does not name
    remark: str = ""


def pull(
    repo: str,
    output: Path | str,
    *,
    revision: str = "",
    overwrite: bool = False,
    endpoint: str | None = None,
    say: Callable[[str], None] = print,
) -> Pulled:
    """Downloads what was pushed, verifies it, and renames it to `output`: there is all of it or nothing.

    What was downloaded before an interruption lies in "<output>.partial" and is not downloaded again.

    Args:
      repo: "USER/NAME", or "datasets/USER/NAME" for a recording.
      output: directory for the files.
      revision: a branch, a tag or a commit; empty: the main branch. Only a commit is always the same.
      overwrite: replace what was pulled there before.
      endpoint: of the hub; None: HF_ENDPOINT, or the public one.
      say: is told commit and size before the download.

    Raises:
      ConfigError: the extra `hub` is missing, `output` is taken or cannot be, there is no such repository or revision,
        it was not pushed from here, or a file is not the one that was pushed.
    """
    need_hub("pulling")
    where = address(repo)
    output = Path(output)
    right = "a directory with a name of its own, which need not be there yet"
    require(output.name not in ("", "..") and not output.is_symlink(), "output", str(output), right)
    partial = output.with_name(f"{output.name}.partial")
    check = functools.partial(_check, output, partial, overwrite)
    check()
    hub = client(endpoint)
    with explained(where, "pulled"):
        info = hub.repo_info(where.name, repo_type=where.repo_type, revision=revision or None, files_metadata=True)
    commit, sizes = str(info.sha), file_sizes(info)
    if LISTING not in sizes:
        raise ConfigError(f"repo={repo!r} has no {LISTING}: it was not pushed by rpd-jax push")
    for name in (LISTING, CARD):
        size = sizes.get(name) or 0
        require(size <= _MOST, "repo", repo, f"one whose {name} has at most {_MOST:,} bytes, it has {size:,}")
    claim = Claim(partial, UNDER_WAY, check)
    with claim:
        listing = _download(hub, where, commit, sizes, claim, say)
        with _cleared(claim):
            verify(partial / _DOWNLOAD, listing, f"{where}@{commit}")
            if listing.kind == "student":
                check_pulled(partial / _DOWNLOAD, f"{where}@{commit}")
            remark = _put_together(partial, listing)
        check()
        _appear(partial / _WHOLE, output)
        claim.clear()
    left_out = tuple(sorted(sizes.keys() - {*listing.files, CARD, LISTING, ".gitattributes"}))
    with contextlib.suppress(OSError):  # something was set aside there
        partial.rmdir()
    return Pulled(output, commit, listing.kind, left_out, remark)


def _check(output: Path, partial: Path, overwrite: bool) -> None:
    check_path(output, PULLED, None, overwrite)
    foreign = [name for name in PULLED.content(output) if not PULLED.writes(name)]
    if foreign:  # the whole directory would be replaced
        raise ConfigError(
            f"output={str(output)!r} will not be overwritten: it holds {foreign[0]!r}, which was not pulled"
        )
    if UNDER_WAY.content(partial) and not UNDER_WAY.is_in(partial):
        raise ConfigError(
            f"output={str(output)!r} cannot be downloaded by way of {partial}, which exists: move that away"
        )
    check_path(partial, UNDER_WAY, True, False)


@contextlib.contextmanager
def _cleared(claim: Claim) -> Iterator[None]:
    """Leaves nothing of what is refused: it would be taken for what the hub has."""
    try:
        yield
    except ConfigError:
        claim.clear()
        raise


def _appear(whole: Path, output: Path) -> None:
    """Renames what is whole to `output`; what was pulled there before goes afterwards."""
    old = temporary_beside(output) if output.exists() else None
    try:
        if old:
            output.rename(old)
        os.replace(whole, output)
    except OSError as error:  # something appeared there
        if old and old.exists() and not output.exists():
            old.rename(output)
        raise ConfigError(f"output={str(output)!r} cannot be written: {error.strerror}") from error
    if old:
        remove(old)


def _download(
    hub: huggingface_hub.HfApi,
    where: Address,
    commit: str,
    sizes: Mapping[str, int | None],
    claim: Claim,
    say: Callable[[str], None],
) -> Listing:
    """Fetches the list, and then what it names and nothing else, once the hub says that it is of the sizes listed."""
    mark, wanted = claim.path / _MARK, {"repo": str(where), "commit": commit}
    if mark.is_file() and read_json(mark) != wanted:  # of another download
        claim.clear()
    write_json(mark, wanted)
    target = claim.path / _DOWNLOAD
    with explained(where, "pulled"):
        hub.hf_hub_download(where.name, LISTING, repo_type=where.repo_type, revision=commit, local_dir=target)
    with _cleared(claim):
        listing = read_listing(target / LISTING, f"{where}@{commit}")
        kind = KINDS[listing.kind]
        if kind.repo_type != where.repo_type:
            raise ConfigError(f"{where} is a {where.repo_type}, and {LISTING} says that it is {kind.what}")
        for name, expected in listing.files.items():
            check_size(name, sizes.get(name, MISSING), expected.size, f"{where}@{commit}")
    say(f"{where}@{commit}: {kind.what}, {len(listing.files)} files, {listing.size:,} bytes")
    with explained(where, "pulled"):
        hub.snapshot_download(
            where.name,
            repo_type=where.repo_type,
            revision=commit,
            local_dir=target,
            allow_patterns=[CARD, *listing.files],  # no name that may be in a list has a wildcard's characters
        )
    return listing


def _put_together(partial: Path, listing: Listing) -> str:
    """Moves what was verified to where it can be renamed whole; returns what a user should know of it."""
    whole = partial / _WHOLE
    if whole.exists():  # of a pull that was killed here
        shutil.rmtree(whole)
    for name in (*listing.files, LISTING, CARD):
        if name != CARD or (partial / _DOWNLOAD / CARD).is_file():
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial / _DOWNLOAD / name, whole / name)
    return add_code(whole) if listing.kind == "export" else ""
