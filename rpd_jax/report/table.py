"""Results as a table: for a terminal, in Markdown, in a notebook, or as a data frame."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rpd_jax.report.results import ROW_KEYS, ResultRow

if TYPE_CHECKING:
    import pandas

HEADERS = (
    "environment",
    "variant",
    "seeds",
    "env steps",
    "teacher calls",
    "success once",
    "95 % interval",
    "success at end",
    "return",
    "seconds",
)


class Table(list[ResultRow]):
    """The results of a run: a list of rows that can be printed, shown in a notebook and taken to pandas."""

    def __str__(self) -> str:
        """As `results_table`."""
        return results_table(self)

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        headers, lines = _with_headers(self)
        head = _html_row("th", headers)
        return f"<table><thead>{head}</thead><tbody>{''.join(_html_row('td', line) for line in lines)}</tbody></table>"

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame whose columns are the keys of results.json's rows; raises ImportError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a data frame needs pandas: pip install pandas") from error
        return pandas.DataFrame([row.to_json() for row in self], columns=list(ROW_KEYS))


LESS_TELLING = ("seconds", "return", "success at end", "env steps", "environment", "seeds", "teacher calls")
"""Columns that a narrow terminal does without, in this order."""


def results_table(rows: Sequence[ResultRow], *, markdown: bool = False, width: int | None = None) -> str:
    """One line per result; the interval is that of "success once", over seeds and episodes unless it says otherwise.

    Notes have a column if there are any. Given a `width`, it is that of a terminal: columns are left out until the
    lines fit, and if that is not enough, each result is a few short lines.
    """
    headers, lines = _with_headers(rows)
    text = render(headers, lines, markdown=markdown)
    for header in LESS_TELLING:
        if width is None or _widest(text) <= width:
            return text
        kept = [i for i, name in enumerate(headers) if name != header]
        headers, lines = [headers[i] for i in kept], [[line[i] for i in kept] for line in lines]
        text = render(headers, lines, markdown=markdown)
    if width is None or _widest(text) <= width:
        return text
    return "\n".join(f"{name}  {cell}" if i else cell for line in lines for i, (name, cell) in _numbered(headers, line))


def _widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def _numbered(headers: Sequence[str], line: Sequence[str]) -> Iterable[tuple[int, tuple[str, str]]]:
    """The cells that are not empty, each with its header."""
    return enumerate((f"  {name}", cell) for name, cell in zip(headers, line, strict=True) if cell)


def render(headers: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Lays cells out in columns; what looks like a number stands to the right.

    Raises:
      ValueError: a row has not as many cells as there are headers.
    """
    for row in rows:
        if len(row) != len(headers):
            raise ValueError(f"row={list(row)} has {len(row)} cells: it must have {len(headers)}")
    if markdown:
        headers, rows = [_escape(x) for x in headers], [[_escape(x) for x in row] for row in rows]
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [bool(rows) and all(map(_is_number, column[1:])) for column in columns]

    def line(cells: Sequence[str]) -> list[str]:
        aligned = zip(cells, widths, right, strict=True)
        return [cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in aligned]

    if markdown:
        rule = ["-" * (w - 1) + ":" if to_right else "-" * w for w, to_right in zip(widths, right, strict=True)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (line(headers), rule, *map(line, rows)))
    rule = ["-" * width for width in widths]
    return "\n".join("  ".join(cells).rstrip() for cells in (line(headers), rule, *map(line, rows)))


def _with_headers(rows: Sequence[ResultRow]) -> tuple[Sequence[str], list[list[str]]]:
    if not any(row.note for row in rows):
        return HEADERS, [_cells(row) for row in rows]
    return (*HEADERS, "note"), [[*_cells(row), row.note] for row in rows]


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _cells(row: ResultRow) -> list[str]:
    return [
        row.env,
        row.variant,
        "-" if row.is_teacher else str(row.seeds),
        "-" if row.is_teacher else f"{row.env_steps:,}",
        "-" if row.is_teacher else f"{row.teacher_calls:,}",
        f"{row.success_once:.3f}",
        _interval(row),
        f"{row.success_at_end:.3f}",
        f"{row.episode_return:.2f}",
        "-" if row.is_teacher else f"{row.seconds:.0f}",
    ]


def _interval(row: ResultRow) -> str:
    if row.interval == "range":
        return f"{row.low:.3f} to {row.high:.3f} (range)"
    said = {
        "episodes": " (over episodes)" if row.is_teacher else " (over episodes, one seed)",
        "bootstrap": " (bootstrap)",
    }
    return f"[{row.low:.3f}, {row.high:.3f}]{said.get(row.interval, '')}"


def _is_number(cell: str) -> bool:
    return (cell[:1].isdigit() or cell[:1] in "-[") and not cell.endswith(")")


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
