"""How this program was started, as its user would type it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND = "rpd-jax"


def invocation() -> tuple[list[str], list[str]]:
    """The words of the program's name, ["rpd-jax", "train"] or ["python", "-m", "launch.train"], and its arguments."""
    words = list(sys.orig_argv)
    if "-m" in words[:-1]:
        end = words.index("-m") + 2
        if words[end - 1] == __package__:  # python -m rpd_jax.launch VERB
            end += 1
        return ["python", *words[1:end]], words[end:]
    for start, word in enumerate(words):
        if Path(word).name == COMMAND:
            return [COMMAND, *words[start + 1 : start + 2]], words[start + 2 :]
    return [Path(sys.argv[0]).name], list(sys.argv[1:])


def name() -> str:
    """The program's name, e.g. "rpd-jax train"."""
    return shlex.join(invocation()[0])


def to_go_on() -> str:
    """What a program that was interrupted says."""
    return f"--resume goes on from there: {again('--resume', without=('--overwrite',))}"


def again(*more: str, without: Sequence[str] = ()) -> str:
    """The command that started this program, with further arguments, and without those that begin as given."""
    words, arguments = invocation()
    dropped = (*more, *without)
    kept = [each for each in arguments if not any(each == word or each.startswith(f"{word}=") for word in dropped)]
    return shlex.join([*words, *kept, *more])
