"""The presets, one line each: size, how long it takes where that has been measured, and what it is."""

from __future__ import annotations

import inspect
import textwrap

from rpd_jax.presets import PRESETS, SECONDS, get_preset

INDENT = " " * 4


def summary(name: str) -> str:
    """The first line of a preset's docstring."""
    return (inspect.getdoc(PRESETS[name]) or "").partition("\n")[0]


def size(name: str) -> str:
    """ "15 x 80,000": members and the steps of each."""
    config = get_preset(name)
    return f"{len(config.variants) * len(config.seeds)} x {config.algorithm.total_steps:,}"


def duration(name: str) -> str:
    """Of training on two CPU cores, or "" where nobody measured it."""
    if name not in SECONDS:
        return ""
    return f"{SECONDS[name] / 60:.2g} min" if SECONDS[name] >= 60 else f"{SECONDS[name]:.0f} s"


def preset_lines(width: int) -> list[str]:
    """A line for each preset, or several where the terminal is narrow."""
    lines = []
    for name in PRESETS:
        head = f"  {name:21} {size(name):>15} {duration(name):>8}  "
        indent = " " * (len(head) if len(head) <= width // 2 else len(INDENT))
        words = textwrap.wrap(summary(name), width - len(indent))
        lines += (
            [head + words[0], *(indent + line for line in words[1:])]
            if indent != INDENT
            else [head.rstrip(), *(indent + line for line in words)]
        )
    return lines
