"""What the source of a dataclass of settings says of its fields: the comment at a field's line, or above it.

# Steps of a chunk that are executed before the teacher is asked again.      <- of replan_every
replan_every: int = setting(1, low=1)
probe: bool = True  # move the arm at start-up                                <- of probe
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from typing import NamedTuple


def comments(cls: type) -> dict[str, str]:
    """Field -> its comment in one line, also of inherited fields; those without one are left out."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _own(base)
    return found


class _Comment(NamedTuple):
    text: str
    alone: bool  # on a line of its own


def _own(cls: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # it was typed into an interpreter
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    at_line = _comments_by_line(source)
    found: dict[str, str] = {}
    for node in definition.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        end = node.end_lineno or node.lineno
        beside = " ".join(at_line[line].text for line in range(node.lineno, end + 1) if line in at_line)
        above = _above(at_line, node.lineno)
        parts = [part.rstrip(".") for part in (above.rstrip(":"), beside) if part]
        if parts:
            found[node.target.id] = "; ".join(parts)
    return found


def _comments_by_line(source: str) -> dict[int, _Comment]:
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = _Comment(token.string.lstrip("# "), not token.line[: token.start[1]].strip())
    return found


def _above(at_line: dict[int, _Comment], line: int) -> str:
    """The comment that ends on the line before."""
    lines: list[str] = []
    while (comment := at_line.get(line - len(lines) - 1)) and comment.alone:
        lines.append(comment.text)
    return " ".join(reversed(lines))
