"""What --help says: the program, its flags, presets, and every field of its settings, from where each is defined."""

from __future__ import annotations

import dataclasses
import inspect
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from rpd_jax.config import Config
from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import allowed
from rpd_jax.launch import program
from rpd_jax.launch.comments import comments
from rpd_jax.launch.preset_table import preset_lines

LEFT = 40  # columns of what is typed
WIDEST = 130


def asked(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for help."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return bool({"--help", "-help", "-h"} & {*own})


def show(text: str) -> None:
    """Prints; a reader that has seen enough (`| head`) is no failure."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor when Python flushes at its end


def text(settings: Any = None) -> str:
    """The whole help; `settings` are those that the command line would run with, or None where there are none."""
    width = min(shutil.get_terminal_size((100, 24)).columns, WIDEST)
    lines = [f"usage: {program.name()} [--FLAG=VALUE ...]", "", *_document().splitlines(), "", "FLAGS"]
    for flag in sorted(_flags(), key=lambda flag: flag.name):
        lines += entry(_left(flag), flag.help, width)
    if isinstance(settings, Config):
        lines += ["", "PRESETS: members x steps of each, time of training on two CPU cores where measured"]
        lines += preset_lines(width)
    if settings is not None:
        of = f" of preset {settings.preset}" if getattr(settings, "preset", "") else ""
        lines += ["", f"FIELDS, with the values{of} that would be used", *_how_to_say(width)]
        lines += fields(settings, width)
    return "\n".join(line.rstrip() for line in lines)


def entry(left: str, right: str, width: int) -> list[str]:
    """Lines of two columns, or one below the other where the left one is too long or the terminal too narrow."""
    indent = min(LEFT, width // 2)
    words = textwrap.wrap(right, max(width - indent, 20)) or [""]
    if len(left) + 4 > indent:
        return ["  " + left, *(" " * indent + line for line in words if line)]
    return [("  " + left).ljust(indent) + words[0], *(" " * indent + line for line in words[1:])]


def fields(settings: Any, width: int, prefix: str = "config.") -> Iterator[str]:
    """Lines for the fields of a dataclass, sections after the plain fields."""
    said, sections = comments(type(settings)), []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            sections.append((field.name, value))
            continue
        right = explained(said.get(field.name, ""), _choices(settings, field.name))
        yield from entry(f"--{prefix}{field.name}={shown(value)}", right, width)
    for name, section in sections:
        title = (inspect.getdoc(type(section)) or "").partition("\n")[0]
        yield ""
        yield from textwrap.wrap(f"{name}: {title}", width, initial_indent="  ", subsequent_indent="  ")
        yield from fields(section, width, f"{prefix}{name}.")


def explained(comment: str, choices: str) -> str:
    """What a field is and what it may be, without saying of None twice that it may be that."""
    if "None" in comment:
        choices = choices.removesuffix("or None").removesuffix(", ")
    return " | ".join(filter(None, (comment, choices)))


def shown(value: Any) -> str:
    """A value as a flag says it."""
    if isinstance(value, (tuple, list)):
        return shlex.quote(",".join(str(getattr(each, "name", each)) for each in value)) if value else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return shlex.quote(value) if isinstance(value, str) and value else str(value)


def _choices(settings: Any, name: str) -> str:
    cls = type(settings)
    if isinstance(settings, Tagged) and name == "name":
        kinds = ", ".join(kind for kind in cls.root.kinds if kind != "own")
        return f"{'suites' if cls.section == 'env' else 'one of'}: {kinds}; the fields below are those of this one"
    if cls is Config and name == "variants":
        from rpd_jax.algorithms.variants import VARIANTS

        return f"known: {', '.join(VARIANTS)}"
    return allowed(cls, name)


def _document() -> str:
    """The program's docstring, its commands as this one was started."""
    document = inspect.getdoc(sys.modules["__main__"]) or ""
    words, _ = program.invocation()
    return document.replace("python -m launch.", "rpd-jax ") if words[0] == program.COMMAND else document


def _flags() -> list[flags.Flag]:
    return [flag for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]) if flag.name != "config"]


def _left(flag: flags.Flag) -> str:
    if flag.boolean and flag.default is None:
        return f"--{flag.name}[=VALUE]"
    if flag.boolean:
        return f"--{flag.name}" if not flag.default else f"--no{flag.name}"
    return f"--{flag.name}={shown(flag.default) if flag.default is not None else ''}"


def _how_to_say(width: int) -> list[str]:
    how = "Lists are written with commas, whole numbers also as ranges (seeds=0..4); 1e6 is a number, None is nothing."
    return textwrap.wrap(how, width, initial_indent="  ", subsequent_indent="  ")
