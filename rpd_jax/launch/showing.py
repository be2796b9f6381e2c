"""Results on the terminal that there is."""

from __future__ import annotations

import sys
from pathlib import Path

from rpd_jax.report.results import RESULTS_FILE, TABLE_FILE, read_results
from rpd_jax.report.table import results_table
from rpd_jax.runs.terminal import columns


def show_results(directory: Path) -> None:
    """Prints the table of a directory of results: as its table.md has it, or so that it fits the terminal."""
    text = (directory / TABLE_FILE).read_text()
    width = columns(sys.stdout)
    if sys.stdout.isatty() and max(map(len, text.splitlines())) > width:
        text = results_table(read_results(directory / RESULTS_FILE).rows, width=width) + "\n"
    print(text)
