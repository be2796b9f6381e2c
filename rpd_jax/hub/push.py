"""To the hub: a path is recognised, checked, described and uploaded in one commit."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rpd_jax.config.validation import ConfigError, require
from rpd_jax.hub.bundle import Bundle, Choice, Maker, machine_paths, recognise
from rpd_jax.hub.card import render
from rpd_jax.hub.client import Address, address, client, explained, file_sizes, need_hub, need_token
from rpd_jax.hub.exported import export_bundle
from rpd_jax.hub.listing import CARD, KINDS, LISTING, Listing, may_hold
from rpd_jax.hub.recording import recording_bundle
from rpd_jax.hub.student import student_bundle
from rpd_jax.runs.files import write_json

if TYPE_CHECKING:
    import huggingface_hub

MAKERS: tuple[Maker, ...] = (export_bundle, recording_bundle, student_bundle)
NONE_CHOSEN = Choice()
_ANY = (".gitattributes", CARD)  # what a repository may hold that nobody pushed from here


def push(
    path: str,
    repo: str,
    *,
    choice: Choice = NONE_CHOSEN,
    license: str = "",
    private: bool = False,
    dry_run: bool = False,
    makers: Sequence[Maker] = MAKERS,
    endpoint: str | None = None,
    say: Callable[[str], None] = print,
) -> str | None:
    """Uploads what a path holds, with a model card and the hashes of all files, in one commit.

    Args:
      path: directory of a run, an export or a recording, or what else `makers` know.
      repo: "USER/NAME"; it is made if there is none. One that holds other files than were pushed from here is refused.
      choice: which student of a run.
      license: an identifier of the hub's for the card, e.g. "apache-2.0"; empty: the card names none.
      private: make the repository private.
      dry_run: only say what would be uploaded; nothing is connected to.
      makers: what recognises paths, in their order.
      endpoint: of the hub; None: HF_ENDPOINT, or the public one.
      say: is told the files and their sizes before the upload.

    Returns:
      the commit; None for a dry run.

    Raises:
      ConfigError: the extra `hub`, a token, the path or a part of it is missing or damaged, the name of the repository
        cannot be, or the hub refuses.
    """
    need_hub("pushing")
    given = address(repo)
    if not dry_run:
        need_token()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        bundle = recognise(path, makers, choice, made)
        repo_type = KINDS[bundle.kind].repo_type
        require(given.repo_type in ("model", repo_type), "repo", repo, f"USER/NAME: {bundle.name} is no data set")
        where = Address(given.name, repo_type)
        listing, card = Listing.of(bundle.kind, bundle.files), render(bundle.card, where, bundle.kind, license)
        write_json(Path(scratch) / LISTING, listing.to_json())
        (Path(scratch) / CARD).write_text(card)
        files = {CARD: Path(scratch) / CARD, LISTING: Path(scratch) / LISTING, **bundle.files}
        _announce(where, bundle, files, private, license, say)
        if dry_run:
            say(f"\n{CARD}:\n\n{card}")
            say("nothing was uploaded: --dry_run")
            return None
        with explained(where, "pushed"):
            commit = _upload(client(endpoint), where, bundle, files, private)
    say(f"pushed: commit {commit}\nto use it: rpd-jax pull --repo={where} --revision={commit} --output=DIR")
    return commit


def _announce(
    where: Address, bundle: Bundle, files: dict[str, Path], private: bool, license: str, say: Callable[[str], None]
) -> None:
    what = f"a {where.repo_type}, {'private' if private else 'public unless it is there and private'}"
    say(f"{where} ({what}): {KINDS[bundle.kind].what}, {bundle.name}")
    width = max(map(len, files))
    for name, path in files.items():
        say(f"  {name:{width}} {path.stat().st_size:>14,} bytes")
    say(f"{len(files)} files, {sum(path.stat().st_size for path in files.values()):,} bytes")
    remarks = [*bundle.remarks, *machine_paths(bundle.files)]
    if not license:
        remarks.append("the card names no license, so that nobody may use it: say --license, e.g. apache-2.0")
    for remark in remarks:
        say(f"note: {remark}")


def _upload(hub: huggingface_hub.HfApi, where: Address, bundle: Bundle, files: dict[str, Path], private: bool) -> str:
    """One commit upon what is there now; files of an earlier push that are no longer among `files` go with it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import RepositoryNotFoundError

    there = None
    with contextlib.suppress(RepositoryNotFoundError):
        there = hub.repo_info(where.name, repo_type=where.repo_type)
    if there is None:
        hub.create_repo(where.name, repo_type=where.repo_type, private=private)
        there = hub.repo_info(where.name, repo_type=where.repo_type)
    elif private and not there.private:
        raise ConfigError(
            f"private=True cannot work: {where} exists and is public; change that on its page, or choose another"
        )
    names = set(file_sizes(there))
    foreign = sorted(names - {*_ANY, LISTING})
    if LISTING not in names and foreign:
        raise ConfigError(
            f"repo={str(where)!r} holds {foreign[0]!r}, and no {LISTING}: it was not pushed from here; choose another"
        )
    stale = sorted(name for name in names - set(files) if any(may_hold(kind, name) for kind in KINDS))
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()
    ]
    operations += [CommitOperationDelete(path_in_repo=name) for name in stale]
    done = hub.create_commit(
        where.name,
        operations,
        commit_message=f"{KINDS[bundle.kind].what[0].upper()}{KINDS[bundle.kind].what[1:]}: {bundle.name}",
        repo_type=where.repo_type,
        parent_commit=there.sha,
    )
    return str(done.oid)
