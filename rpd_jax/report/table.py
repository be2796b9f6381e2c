"""Results as a table, for a terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rpd_jax.report.results import ResultRow

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


def results_table(rows: Sequence[ResultRow], *, markdown: bool = False) -> str:
    """One line per result; the interval is that of "success once", over seeds and episodes unless it says otherwise.

    Notes have a column if there are any.
    """
    cells = [_cells(row) for row in rows]
    if not any(row.note for row in rows):
        return render(HEADERS, cells, markdown=markdown)
    noted = [[*line, row.note] for line, row in zip(cells, rows, strict=True)]
    return render((*HEADERS, "note"), noted, markdown=markdown)


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
