"""Two made-up runs, one with something that stands for a video."""

from __future__ import annotations

from pathlib import Path

import made_up
import pytest


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    made_up.run(tmp_path / "runs" / "one")
    made_up.run(tmp_path / "runs" / "two", {"ppo": 0.5, "ppd": 0.6})
    (tmp_path / "runs" / "one" / "episodes.mp4").write_bytes(bytes(range(256)))
    return tmp_path / "runs"
