"""One program of the comparison, in a process of its own: `python -m benchmarks.peers.program quick|full NAME`."""

from __future__ import annotations

import contextlib
import importlib
import sys

from benchmarks import turns
from benchmarks.peers.work import Work


def main() -> None:
    _, pace, name = sys.argv
    if name == "ours":
        turns.serving()  # our launchers set JAX up; others are left as they come
    work = Work(iterations=2) if pace == "quick" else Work()
    with contextlib.redirect_stdout(sys.stderr):  # brax says there what it could not import
        parts = importlib.import_module(f"benchmarks.peers.{name}").make(work)
    turns.serve(parts)


if __name__ == "__main__":
    main()
