"""Pushes to the stand-in, and pulls from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hub_stand_in import Hub


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
