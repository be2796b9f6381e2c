"""Comparisons that are kept: a folder each with report and pictures, and one table of every claim with its verdict."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rpd_jax.comparison import pictures, report
from rpd_jax.comparison.selection import remarks
from rpd_jax.report.results import COMPARISON_FILE
from rpd_jax.report.table import render
from rpd_jax.runs.files import atomic_path, read_json

OVERVIEW_FILE = "README.md"
FILES = (report.REPORT_FILE, COMPARISON_FILE, report.CSV_FILE, report.TEX_FILE, *pictures.FILES)
HEADERS = ("paper", "claim", "published", "here [95 %]", "verdict", "remarks", "report")
FEW = 2  # cases that are named where a remark is not about all of them


def publish(root: Path | str, target: Path | str) -> Path:
    """Copies what a finished comparison shows into a folder of `target`, and writes the overview anew.

    Raises:
      ConfigError: there is no comparison in `root`.
    """
    root, target = Path(root), Path(target)
    folder = target / read_json(root / COMPARISON_FILE)["experiment"]
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (root / name).is_file():
            with atomic_path(folder / name) as path:
                shutil.copyfile(root / name, path)
    with atomic_path(target / OVERVIEW_FILE) as path:
        path.write_text(overview(target))
    return folder


def overview(target: Path | str) -> str:
    """README.md of a folder of comparisons: each claim, what the paper reports, what came of it here."""
    found = [(path.parent.name, read_json(path)) for path in sorted(Path(target).glob(f"*/{COMPARISON_FILE}"))]
    rows = [_row(folder, stored, claim) for folder, stored in found for claim in stored["claims"]]
    made = [
        (
            f"[{folder}]({folder}/{report.REPORT_FILE})",
            stored["title"],
            str(len(stored["cases"])),
            f"`{stored['command']}`",
            stored["date"],
            stored["machine"],
            stored["commit"],
        )
        for folder, stored in found
    ]
    return "\n\n".join(
        [
            "# What the papers claim, and what came of it here",
            "Every arm of a comparison had as many settings to choose from as every other, and as many steps. Figures "
            "are of fresh seeds and fresh episodes, the same for all arms. A claim holds, or does not, where the 95 % "
            "interval of the paired difference in success says so; otherwise it is undecided. Curves that were still "
            "rising when training ended, arms that hardly ever succeeded, and arms whose settings tuning could not "
            "tell apart are named, with the cases where that was so unless it was in all that the claim is about. "
            "Teachers that are scripted toys are named in each report, with everything else that differs from the "
            "paper.",
            render(HEADERS, rows, markdown=True),
            "## The comparisons",
            render(("folder", "question", "cases", "command", "date", "machine", "commit"), made, markdown=True),
            "This page is written by `rpd-jax compare --publish=experiments`.\n",
        ]
    )


def _row(folder: str, stored: dict[str, Any], claim: dict[str, Any]) -> tuple[str, ...]:
    judged = "verdict" in claim
    here = f"{claim['estimate']:+.2f} [{claim['low']:+.2f}, {claim['high']:+.2f}]" if judged else ""
    verdict = claim["verdict"] if judged else "not judged yet"
    return (
        stored["source"],
        claim["text"],
        claim["published"],
        here,
        verdict,
        _remarks(stored, claim),
        f"[{folder}]({folder}/{report.REPORT_FILE})",
    )


def _remarks(stored: dict[str, Any], claim: dict[str, Any]) -> str:
    """What a reader must know of the claim's arms, in its cases, before the verdict is believed."""
    cases = [case for case in stored["cases"] if case["name"] in claim["cases"] or not claim["cases"]]
    found: dict[str, list[str]] = {}
    for name in claim["arms"]:
        where: dict[str, list[str]] = {}
        for case in cases:
            arm = case["arms"][name]
            for remark in remarks(arm["scores"], arm["rising"], list(arm["tuning"].values())):
                where.setdefault(remark, []).append(case["name"])
        for remark, names in where.items():
            few = f" ({', '.join(names)})" if len(names) <= FEW else f" ({len(names)} of {len(cases)} cases)"
            found.setdefault(remark, []).append(name + ("" if len(names) == len(cases) else few))
    return "; ".join(f"{remark}: {', '.join(names)}" for remark, names in found.items())
