"""The table of all claims, and what it says of the runs behind each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from children import ROOT

from rpd_jax.comparison import published


def stored(claim: dict[str, Any]) -> dict[str, Any]:
    """A comparison of three cases: "a" rises in all of them, "b" in the first, and "c" never succeeds."""

    def arm(score: float, rising: bool) -> dict[str, Any]:
        return {"scores": [score], "rising": rising, "tuning": {"x": [0.2], "y": [0.9]}}

    cases = [
        {"name": name, "arms": {"a": arm(0.5, True), "b": arm(0.5, name == "one"), "c": arm(0.0, False)}}
        for name in ("one", "two", "three")
    ]
    about = dict.fromkeys(("title", "source", "command", "date", "machine", "commit"), "-")
    return about | {"cases": cases, "claims": [{"text": "it works", "published": "", **claim}]}


@pytest.mark.parametrize(
    ("arms", "cases", "remark"),
    [
        (["a", "b"], [], "still rising: a, b (one)"),
        (["a", "b"], ["two", "three"], "still rising: a"),
        (["b", "a"], ["one"], "still rising: b, a"),
        (["b", "c"], ["two"], "hardly ever succeeds, which more steps may change: c"),
        (["b", "b"], ["three"], ""),
    ],
)
def test_remarks_are_of_the_arms_and_cases_of_a_claim(
    arms: list[str], cases: list[str], remark: str, tmp_path: Path
) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "comparison.json").write_text(json.dumps(stored({"arms": arms, "cases": cases})))
    row = next(line for line in published.overview(tmp_path).splitlines() if "it works" in line)
    assert row.split("|")[6].strip() == remark


def test_the_table_of_all_claims_is_what_the_comparisons_say() -> None:
    kept = ROOT / "experiments"
    assert (kept / "README.md").read_text() == published.overview(kept)
