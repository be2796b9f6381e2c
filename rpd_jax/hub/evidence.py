"""What a run says of a student's success, for its card: nothing is measured anew, and toys are called toys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpd_jax.config import ConfigError
from rpd_jax.hub.card import TOY, rate
from rpd_jax.report.results import POINTS_FILE, RESULTS_FILE, ResultRow, read_results
from rpd_jax.report.table import render
from rpd_jax.runs.files import read_list

UNKNOWN = "Not known: its run has no evaluation."
_INTERVALS = {
    "seeds": "95 %, over seeds and episodes",
    "range": "range of two seeds",
    "episodes": "95 %, over episodes",
    "bootstrap": "bootstrap over seeds, too narrow",
}


def member_points(run: Path, variant: str, seed: int, env_steps: int) -> list[dict[str, Any]]:
    """A member's points of curves.json up to so many environment steps; none where the file is missing."""
    if not (run / POINTS_FILE).is_file():
        return []
    return [
        point
        for point in read_list(run / POINTS_FILE)
        if (point.get("variant"), point.get("seed")) == (variant, seed) and point.get("env_steps", 0) <= env_steps
    ]


def success_section(run: Path, variant: str, seed: int, env_steps: int) -> str:
    """The student's own last evaluation, and the run's table with its teacher."""
    said = [_own(member_points(run, variant, seed, env_steps), env_steps), _table(run, variant, env_steps)]
    return "\n\n".join(filter(None, said)) or UNKNOWN


def _own(points: list[dict[str, Any]], env_steps: int) -> str:
    if not points:
        return ""
    last = points[-1]
    episodes = int(last["episodes"])
    when = "" if last["env_steps"] == env_steps else f" after {last['env_steps']:,} of its {env_steps:,} steps"
    succeeded = round(last["success_once"] * episodes)
    return (
        f"This student succeeds at least once in {rate(succeeded, episodes)}{when}, and at the end of "
        f"{last['success_at_end']:.2f} of them, with deterministic actions."
    )


def _table(run: Path, variant: str, env_steps: int) -> str:
    try:
        rows = read_results(run / RESULTS_FILE).rows
    except ConfigError:  # interrupted runs have none
        return ""
    shown = [row for row in rows if row.is_teacher or (row.variant == variant and row.env_steps == env_steps)]
    if not shown:
        return ""
    headers = ("environment", "policy", "seeds", "success once", "interval", "success at end")
    cells = [
        (
            row.env,
            _who(row),
            "-" if row.is_teacher else str(row.seeds),
            f"{row.success_once:.2f}",
            f"{row.low:.2f} to {row.high:.2f} ({_INTERVALS[row.interval]})",
            f"{row.success_at_end:.2f}",
        )
        for row in shown
    ]
    notes = [f"{_who(row)}: {row.note}." for row in shown if row.note]
    return "\n\n".join(["The run's table, of all seeds of the variant:", render(headers, cells, markdown=True), *notes])


def _who(row: ResultRow) -> str:
    if not row.is_teacher:
        return row.variant
    return f"teacher: {TOY}" if row.is_scripted else row.variant
