"""Comparing with bad input: an error that says what would be right, and nothing on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from children import refusal


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "rpd-losses"),
        (["--experiment=rpd-loses"], "rpd-losses"),
        (["--experiment=smoke", "--scale=paper"], "laptop"),
        (["--experiment=smoke", "--case=nowhere"], "near, long"),
        (["--experiment=smoke", "--case=nowhere", "--processes=2"], "near, long"),
        (["--experiment=smoke", "--worker=nowhere"], "near, long"),
        (["--experiment=smoke", "--processes=0"], "processes"),
        (["--experiment=smoke", "--ray=127.0.0.1:1"], "--ray"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in refusal("compare", f"--output={tmp_path / 'out'}", *arguments)
    assert not (tmp_path / "out").exists()
