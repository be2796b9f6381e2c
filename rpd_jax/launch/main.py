"""The console command `rpd-jax VERB`, also `python -m rpd_jax.launch VERB`."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import runpy
import sys
from pathlib import Path

from rpd_jax.launch.program import COMMAND

VERBS = {
    "train": "train",
    "evaluate": "evaluate",
    "compare": "compare",
    "view": "view",
    "collect": "collect",
    "finetune-octo": "finetune_octo",
    "finetune-openvla": "finetune_openvla",
    "distill-openvla": "distill_openvla",
    "export": "export",
    "push": "push",
    "pull": "pull",
    "serve": "serve_teacher",
    "check": "check_teacher",
    "doctor": "doctor",
    "vulkan": "vulkan",
    "presets": "presets",
    "completion": "completion",
}
"""Verb -> its module in this package, which is run as `python -m` runs one."""


def summary(module: str) -> str:
    """The first line of a program's docstring; the program is not imported."""
    found = importlib.util.find_spec(f"{__package__}.{module}")
    assert found is not None and found.origin is not None, module
    return (ast.get_docstring(ast.parse(Path(found.origin).read_text())) or "").partition("\n")[0]


def usage() -> str:
    verbs = "\n".join(f"  {verb:18}{summary(module)}" for verb, module in VERBS.items())
    return f"usage: {COMMAND} VERB [--flags]\n\n{verbs}\n\n{COMMAND} VERB --help says what a verb takes."


def main() -> None:
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(usage())
        return
    verb = verb.replace("_", "-")
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        print(f"error: {verb!r} is no verb: {meant}choose from {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = arguments
    runpy.run_module(f"{__package__}.{VERBS[verb]}", run_name="__main__", alter_sys=True)
